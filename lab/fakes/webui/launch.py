"""sdops lab fake of stable-diffusion-webui 1.10.1 (not the real WebUI): prepares the environment, then serves."""

from __future__ import annotations

import sys

from modules import fake, launch_utils

args = launch_utils.args
list_extensions = launch_utils.list_extensions
is_installed = launch_utils.is_installed
run_pip = launch_utils.run_pip
run = launch_utils.run
git_clone = launch_utils.git_clone
repo_dir = launch_utils.repo_dir
commit_hash = launch_utils.commit_hash
git_tag = launch_utils.git_tag
python = launch_utils.python
git = launch_utils.git


def main() -> None:
    print(fake.BANNER)
    if args.dump_sysinfo:
        print(f"Sysinfo saved as {launch_utils.dump_sysinfo()}. Exiting...")
        sys.exit(0)
    launch_utils.startup_timer.record("initial startup")
    if not args.skip_prepare_environment:
        with launch_utils.startup_timer.subcategory("prepare environment"):
            launch_utils.prepare_environment()
    if args.test_server:
        launch_utils.configure_for_tests()
    launch_utils.start()


if __name__ == "__main__":
    main()
