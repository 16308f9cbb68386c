"""What of a URL is a secret, and what is not."""

from __future__ import annotations

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.models.spec import find_source_secrets, parse_model_entry
from ansible_collections.sdops.webui.plugins.module_utils.secrets import is_secret_parameter, mask_secrets

# as S3, Google, Azure, CloudFront, Aliyun, Tencent, Akamai, Civitai, GitLab, OneDrive, Drive, Baidu and trackers call them
SECRET = (
    "X-Amz-Signature X-Amz-Credential X-Amz-Security-Token X-Goog-Signature sig Signature Policy Key-Pair-Id OSSAccessKeyId "
    "security-token auth_key q-signature hdnts token private_token job-token access_token authkey resourcekey pwd passkey "
    "torrent_pass key api_key apikey X-Api-Key AWSAccessKeyId txSecret wsSecret password client_secret Authorization sign pw code verify q-ak"
)
PLAIN = (
    "Revision FilePath modelVersionId type format size fp fileId download filename author design name version expires Expires "
    "X-Amz-Date X-Amz-Expires X-Amz-Algorithm X-Amz-SignedHeaders response-content-disposition path id raw ref passage keyword se sp tokenizer encode unicode"
)


@pytest.mark.parametrize("name", SECRET.split())
def test_secret_parameters(name: str) -> None:
    assert is_secret_parameter(name)
    found = find_source_secrets(f"https://h.test/a?x=1&{name}=dGhlIHZhbHVl&y=2")
    assert found == [f"{name}=dGhlIHZhbHVl", "dGhlIHZhbHVl"]


@pytest.mark.parametrize("name", PLAIN.split())
def test_other_parameters(name: str) -> None:
    assert not is_secret_parameter(name)
    assert find_source_secrets(f"https://h.test/a?{name}=stable-diffusion-webui.safetensors#top") == []


@pytest.mark.parametrize(
    "source",
    [
        "https://h.test/x?token=s%33cret-value",
        "https://h.test/x?to=https%3A%2F%2Fi.test%2F%3Fa%3D1%26sig%3Ds3cret-value",
        "https://proxy.test/https://h.test/x?a=1?token=s3cret-value",
        "magnet:?tr=http%3A%2F%2Ft.test%2Fannounce%3Fpasskey%3Ds3cret-value&xt=urn:btih:" + "a" * 40,
        "https://me:s3cret-value@h.test/x",
        "https://h.test/x#token=s3cret-value",
    ],
)
def test_however_it_is_written(source: str) -> None:
    assert "s3cret-value" in find_source_secrets(source)


def test_a_magnet_link_is_called_by_its_topic_wherever_that_stands() -> None:
    topic = "xt=urn:btih:" + "a" * 40
    link = f"magnet:?tr=http%3A%2F%2Ft.test%2Fs3cret%2Fannounce&{topic}&dn=x"
    assert parse_model_entry(link).label == "magnet:?" + topic
    assert "tr=http%3A%2F%2Ft.test%2Fs3cret%2Fannounce" in find_source_secrets(link)


def test_short_values_are_masked_with_their_names_only() -> None:
    assert find_source_secrets("https://h.test/x?pwd=1a2b&key=lora") == ["pwd=1a2b", "key=lora"]


def test_nothing_that_is_shown_is_masked() -> None:
    class Module:
        no_log_values: set = set()

    mask_secrets(Module, ["key=models/Lora/x.pt", "models/Lora/x.pt", "s3cret"], ["/webui/models/Lora/x.pt"])
    assert Module.no_log_values == {"key=models/Lora/x.pt", "s3cret"}
