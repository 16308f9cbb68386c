# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks and the least value of each variable, and which names hold secrets or keep the spaces around their values."""

from __future__ import annotations

import re

from ..network.routes import ROUTE_KINDS
from ..xray import share_link
from .checks import (
    Check,
    artifacts_dir_error,
    base64url_key,
    by_service,
    capability_error,
    commit_error,
    data_dir_error,
    geo_files_error,
    hashes_error,
    home_error,
    host_name,
    list_of,
    matching,
    no_proxy_error,
    or_empty,
    or_one_of,
    origin_error,
    path_error,
    plain_path_error,
    port_error,
    quoted_text,
    release_urls_error,
    repositories_error,
    required_space_error,
    sha256_error,
    share_link_error,
    text_error,
    token_error,
    url_error,
    user_id_error,
    webui_arguments_error,
    webui_environment_error,
    without_credentials,
    word_error,
)

CHECKS: dict[str, Check] = {
    "sdops_home": home_error,
    "sdops_data_dir": data_dir_error,
    "sdops_cache_dir": or_empty(plain_path_error),
    "sdops_git_cache_dir": or_empty(plain_path_error),
    "sdops_package_cache_dir": or_empty(plain_path_error),
    "sdops_env_prefix": plain_path_error,
    "sdops_webui_dir": plain_path_error,
    "sdops_webui_data_dir": plain_path_error,
    "sdops_user_home": path_error,
    "sdops_boot_hook": or_empty(path_error),
    "sdops_profile_dir": path_error,
    "sdops_gitconfig": path_error,
    "sdops_nvidia_smi": text_error,
    "sdops_github": url_error,
    "sdops_huggingface_endpoint": without_credentials(url_error),
    "sdops_civitai_endpoint": without_credentials(url_error),
    "sdops_network_routes": by_service(
        or_one_of(*ROUTE_KINDS)(lambda _route: "must be one of {}".format(", ".join(ROUTE_KINDS)))
    ),
    "sdops_mirrors": by_service(list_of(url_error)),
    "sdops_pip_index_url": or_empty(url_error),
    "sdops_pip_extra_index_urls": list_of(url_error),
    "sdops_conda_channel": without_credentials(word_error),
    "sdops_turbo_file": path_error,
    "sdops_ca_bundle": or_empty(path_error),
    "sdops_python_url": or_empty(url_error),
    "sdops_python_sha256": hashes_error,
    "sdops_proxy_http_port": port_error,
    "sdops_proxy_socks_port": port_error,
    "sdops_no_proxy": list_of(no_proxy_error),
    "sdops_artifacts_dir": artifacts_dir_error,
    "sdops_gpu_capabilities": list_of(capability_error),
    "base_systemd_dir": path_error,
    "base_required_space": required_space_error,
    "conda_env_prefix": plain_path_error,
    "conda_env_python": matching(
        r"3\.\d+\.\d+",
        "must be an exact version such as 3.10.6 (in quotes), so that the same environment can be made again next week",
    ),
    "conda_env_name": or_empty(word_error),
    "conda_env_channels": list_of(without_credentials(word_error)),
    "conda_env_channel_alias": or_empty(without_credentials(url_error)),
    "conda_env_engine": or_one_of("auto", "conda", "mamba", "micromamba", "rattler")(path_error),
    "conda_env_installer_url": or_empty(url_error),
    "conda_env_installer_sha256": or_empty(sha256_error),
    "conda_env_installer_prefix": plain_path_error,
    "extensions_webui_dir": plain_path_error,
    "extensions_roop_threshold": lambda value: (
        ""
        if 0 < float(value) <= 0.7
        else "must be above 0 and at most 0.7. A lower one is stricter; none turns the check off"
    ),
    "model_fetch_webui_dir": plain_path_error,
    "model_fetch_cache_dir": or_empty(plain_path_error),
    "model_fetch_huggingface_token": token_error,
    "model_fetch_civitai_token": token_error,
    "sd_webui_dir": plain_path_error,
    "sd_webui_repo": word_error,
    "sd_webui_commit": commit_error,
    "sd_webui_repositories": repositories_error,
    "sd_webui_torch_mirror": url_error,
    "sd_webui_torch_index_url": or_one_of("", "auto")(url_error),
    "sd_webui_requirements_file": text_error,
    "webui_rollback_snapshot_dir": plain_path_error,
    "webui_rollback_trees": list_of(plain_path_error),
    "webui_rollback_files": list_of(plain_path_error),
    "webui_rollback_state_file": plain_path_error,
    "webui_rollback_sources_file": plain_path_error,
    "webui_service_dir": plain_path_error,
    "webui_service_data_dir": plain_path_error,
    "webui_service_port": port_error,
    "webui_service_user": matching(r"[^:,\s]+", "must be a user name without colon, comma or space"),
    "webui_service_extra_args": webui_arguments_error,
    "webui_service_environment": webui_environment_error,
    "webui_service_allowed_origins": list_of(origin_error),
    "webui_service_outputs_dir": artifacts_dir_error,
    "webui_service_smoke_test_width": lambda value: "" if int(value) % 8 == 0 else "must be a multiple of 8",
    "webui_service_smoke_test_height": lambda value: "" if int(value) % 8 == 0 else "must be a multiple of 8",
    "xformers_build_version": matching(
        r"auto|none|\d+\.\d+\.\d+(\.post\d+)?", "must be auto, none, or a version such as 0.0.23.post1 (in quotes)"
    ),
    "xformers_build_index_url": or_empty(url_error),
    "xformers_build_index_base": url_error,
    "xformers_build_cache_dirs": lambda value: (
        list_of(path_error)(value)
        if value
        else "is empty; give it a directory in which wheels that were built are kept"
    ),
    "xformers_build_work_dir": plain_path_error,
    "xformers_build_cuda_home": or_empty(path_error),
    "xformers_build_source": or_empty(path_error),
    "xformers_build_commit": or_empty(commit_error),
    "xformers_build_repo": word_error,
    "xformers_build_sha256": hashes_error,
    "xray_proxy_version": matching(
        r"v?[0-9]+([.][0-9]+){2}",
        "must be an exact version such as 26.3.27 (in quotes), because it is the name of upstream's release and what its digest is "
        "checked for",
    ),
    "xray_proxy_release_base": release_urls_error,
    "xray_proxy_sha256": or_empty(sha256_error),
    "xray_proxy_digest_base": url_error,
    "xray_proxy_file": or_empty(path_error),
    "xray_proxy_link": or_empty(share_link_error),
    "xray_proxy_server": or_empty(host_name(True)),
    "xray_proxy_port": port_error,
    "xray_proxy_uuid": or_empty(quoted_text(user_id_error)),
    "xray_proxy_public_key": or_empty(base64url_key(43, "a REALITY public key")),
    "xray_proxy_server_name": or_empty(host_name(False)),
    "xray_proxy_short_id": quoted_text(
        matching(r"([0-9a-fA-F]{2}){0,8}", "must be an even number of hex digits, 16 at most, or empty")
    ),
    "xray_proxy_fingerprint": or_empty(
        matching(
            r"(?i)(?!(unsafe|hellogolang)\Z)[A-Za-z0-9_]{1,40}",
            "must be the name of a TLS fingerprint that REALITY allows, such as chrome",
        )
    ),
    "xray_proxy_spider_x": quoted_text(matching(r"(/.*)?", "must be empty or start with '/'")),
    "xray_proxy_encryption": or_empty(
        quoted_text(
            matching(
                share_link.ENCRYPTION.pattern,
                "must be none or what xray vlessenc printed, which starts with mlkem768x25519plus",
            )
        )
    ),
    "xray_proxy_mldsa65_verify": or_empty(base64url_key(2603, "empty or an ML-DSA-65 key")),
    "xray_proxy_geo_files": geo_files_error,
    "xray_proxy_verify_urls": lambda value: (
        list_of(url_error)(value)
        if value
        else "must name at least one URL: a proxy that was never tried is not known to work"
    ),
}

MINIMUMS: dict[str, int] = {
    "sdops_network_timeout": 0,
    "extensions_install_timeout": 1,
    "model_fetch_parallel": 1,
    "model_fetch_connections": 1,
    "model_fetch_retries": 0,
    "model_fetch_timeout": 1,
    "model_fetch_progress_interval": 0,
    "webui_service_ready_timeout": 1,
    "webui_service_smoke_test_steps": 1,
    "webui_service_smoke_test_width": 8,
    "webui_service_smoke_test_height": 8,
    "webui_service_smoke_test_timeout": 1,
    "webui_service_idle_minutes": 0,
    "webui_service_outputs_max_bytes": 1,
    "webui_service_log_lines": 1,
    "webui_service_log_seconds": 0,
    "xformers_build_max_jobs": 0,
    "xray_proxy_verify_timeout": 1,
    "xray_proxy_verify_retries": 0,
}

# what is never repeated: secrets, and what may hold them
SECRET_NAMES = re.compile(
    r"xray_proxy_(link|config|server|server_name|uuid|public_key|short_id|spider_x|encryption|mldsa65_verify)\Z|.*_token\Z"
    r"|webui_service_(extra_args|environment|options)\Z|model_fetch_models\Z"
)
# what gives these to others takes the spaces around them away itself: they come from vaults, and nothing beats -e @vault.yml
STRIPPED_BY_ROLES = re.compile(
    r"xray_proxy_(link|server|port|uuid|public_key|server_name|short_id|fingerprint|spider_x|flow|encryption|mldsa65_verify|version)\Z"
    r"|.*_token\Z|sdops_pip_index_url\Z"
)
# where spaces and line breaks belong to the value
UNSTRIPPED_NAMES = re.compile(r"webui_service_(smoke_test_(negative_)?prompt|extra_args)\Z")
