# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of everything that downloads."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  huggingface_endpoint:
    description:
      - Base URL of the Hugging Face Hub or of a mirror. A token goes to this origin only, and over TLS (or to this machine itself).
      - C(huggingface.co) and C(hf.co) count as one, so a token for one goes to the other too.
      - Links of files below it are links of the Hub, verified by its hash.
    type: str
    default: https://huggingface.co
  civitai_endpoint:
    description:
      - Base URL of Civitai. A token goes to this origin only, and over TLS (or to this machine itself).
      - C(civitai.com), C(civitai.red) and C(civitai.green) count as one, so a token for one goes to the others too. A token for any other
        origin goes there alone.
      - Links of models below it are links of Civitai.
    type: str
    default: https://civitai.com
  huggingface_token:
    description: Token for gated repositories. White space around it is taken away.
    type: str
  civitai_token:
    description: API token. White space around it is taken away.
    type: str
  allow_pickle:
    description:
      - Whether pickle files (C(.ckpt), C(.pt), C(.bin), C(.pth)) are accepted, after a scan that lets only tensors through.
      - A scanner is no guarantee. Prefer C(.safetensors).
    type: bool
    default: false
  proxy:
    description:
      - URL of an HTTP or SOCKS proxy (C(socks5h://HOST:PORT) resolves names at the proxy), or empty for none. Without it C(http_proxy),
        C(https_proxy) and C(all_proxy) of the environment count.
      - Hosts in C(no_proxy) of the environment are reached directly in any case.
    type: str
  huggingface_proxy:
    description: The same for what comes from the Hugging Face Hub and its storage. Without it O(proxy) counts.
    type: str
  civitai_proxy:
    description: The same for what comes from Civitai and its storage. Without it O(proxy) counts.
    type: str
  ca_path:
    description: PEM bundle to trust instead of the default one.
    type: path
  connections:
    description: How many connections fetch one file at once. Storages often limit each connection and not the sum.
    type: int
    default: 8
  timeout:
    description: Seconds without a byte before a connection is given up.
    type: int
    default: 30
  retries:
    description: How often a failed request is tried again while nothing comes.
    type: int
    default: 5
requirements:
  - requests on the target, and PySocks for a SOCKS proxy
"""
