"""What the tests of the controller's side share."""

from __future__ import annotations

import pytest
from ansible.parsing.vault import EncryptedString, VaultLib, VaultSecret, VaultSecretsContext


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> EncryptedString:
    """A value as ``!vault`` gives it, in a run without a vault password."""
    monkeypatch.setattr(VaultSecretsContext, "_current", VaultSecretsContext(secrets=[]))
    secret = VaultSecret(b"right")
    return EncryptedString(ciphertext=VaultLib([("default", secret)]).encrypt("hunter2", secret=secret).decode())
