"""What tests share: modules as processes, throw-away hosts, fake and running programs."""
