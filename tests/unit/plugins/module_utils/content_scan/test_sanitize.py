"""File names as servers tell them."""

from __future__ import annotations

from email.message import Message

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.content_scan.sanitize import (
    parse_disposition_name,
    sanitize_name,
)
from hypothesis import given, settings
from hypothesis import strategies as st


def by_email(header: str) -> str:
    """The standard library's idea. It prefers the plain parameter to the extended one, so one of them is given here."""
    message = Message()
    message["Content-Disposition"] = header
    return message.get_filename("")


@pytest.mark.parametrize(
    "header",
    [
        'attachment; filename="a b.safetensors"',
        "attachment; filename=a.safetensors",
        "attachment; filename=my model v2.safetensors",
        'attachment; filename="a;b=c.safetensors"; size=3',
        'attachment; x="filename=no.pt; y"; filename=yes.safetensors',
        r'attachment; filename="a \"quoted\" \\ name.safetensors"',
        'ATTACHMENT; FileName="a.safetensors"',
        'attachment ; filename = "a.safetensors"',
        "inline; filename*=UTF-8''%E6%A8%A1%E5%9E%8B.safetensors",
        "inline; filename*=iso-8859-1'en'%A3.safetensors",
        "inline; filename*=GBK''%C4%A3%D0%CD.safetensors",
        "inline",
        "",
    ],
)
def test_as_the_standard_library_reads_it(header: str) -> None:
    assert parse_disposition_name(header) == by_email(header)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        # RFC 6266, section 5, and what sections 4.3 and appendix D ask for
        ("attachment; filename=\"EURO rates\"; filename*=utf-8''%e2%82%ac%20rates", "\u20ac rates"),
        ("attachment; filename*=UTF-8''%e2%82%ac%20rates; filename=euro.txt", "\u20ac rates"),
        # a charset that is none, and bytes that are not in it
        ("attachment; filename*=no-such''a.pt; filename=plain.pt", "plain.pt"),
        ("attachment; filename*=UTF-8''%ff.pt; filename=plain.pt", "plain.pt"),
        # what servers get wrong
        ("attachment; filename=\u6a21\u578b v2.safetensors; size=1", "\u6a21\u578b v2.safetensors"),
        ('attachment; filename="\u6a21\u578b.safetensors', "\u6a21\u578b.safetensors"),
        ("attachment; filename*=\"UTF-8''a%20b.pt\"", "a b.pt"),
        ("filename=a.pt", "a.pt"),
        ('attachment;filename="C:\\models\\a.pt"', "C:\\models\\a.pt"),
        ('attachment; filename=""', ""),
        ("attachment; filename=", ""),
    ],
)
def test_disposition_is_read_by_the_standard_or_as_browsers_do(header: str, name: str) -> None:
    assert parse_disposition_name(header) == name


@settings(deadline=None)
@given(st.text(alphabet="a*=;\"\\ \t%2'fileUTF-8\u6a21.", max_size=60))
def test_whatever_a_server_sends(tail: str) -> None:
    for header in (tail, "attachment; filename=" + tail, "attachment; filename*=" + tail):
        name = sanitize_name(parse_disposition_name(header))
        assert "/" not in name and len(name.encode()) <= 255


@pytest.mark.parametrize("name", ["a" * 300 + ".safetensors", "\u6a21" * 200 + ".pt", "\u6a21" * 200, "a." + "b" * 400])
def test_long_names_are_cut_to_what_a_file_system_takes(name: str) -> None:
    truncated = sanitize_name(name)
    assert 250 < len(truncated.encode()) <= 255
    assert name.startswith(truncated[:80])


@pytest.mark.parametrize("name", ["", "/", "a/", "..", " . ", "\x00\x1b"[:0], "\\"])
def test_no_name(name: str) -> None:
    assert sanitize_name(name) == ""
