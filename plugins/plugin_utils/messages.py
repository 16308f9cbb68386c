# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog of what a run says of its steps and results, in English and Chinese.

Causes of failures are not in it: they come from modules on the targets, and stay English, as one finds them by a search.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

LANGUAGES = ("en", "zh")
# in the order of gettext; the first that is set decides
LOCALE_VARIABLES = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")

# by key, a text for each of LANGUAGES; the fields in braces are those of str.format
MESSAGES: dict[str, tuple[str, str]] = {
    # --- steps
    "step_base": ("directories, toolbox, supervisord", "目录、工具箱、supervisord"),
    "step_xray_proxy": ("the proxy", "代理"),
    "step_conda_env": ("the Python environment", "Python 环境"),
    "step_sd_webui": ("the WebUI and its packages", "WebUI 及其依赖包"),
    "step_xformers_build": ("the xformers that fits", "匹配的 xformers"),
    "step_model_fetch": ("models", "模型"),
    "step_extensions": ("extensions", "扩展"),
    "step_webui_service": ("configuration, start, first image", "配置、启动、第一张图"),
    "running": ("... {task} ({time} so far)", "…… {task}（已用 {time}）"),
    "changed_task": ("changed: {task} ({time})", "已改变：{task}（{time}）"),
    "changed_task_check": ("would change: {task} ({time})", "将会改变：{task}（{time}）"),
    "failed_task": ("failed: {task}: {cause}", "失败：{task}：{cause}"),
    "role_changed": ("{role} finished in {time}, {count} changed", "{role} 用时 {time}，改变 {count} 处"),
    "role_unchanged": ("{role} finished in {time}, nothing changed", "{role} 用时 {time}，没有改变"),
    # --- between parts of a sentence, and between names
    "clause_separator": (", ", "，"),
    "list_separator": (", ", "、"),
    "sum_separator": ("; ", "；"),
    # --- the progress of a batch
    "amount_of": ("{done} of {total}", "{done} / {total}"),
    "progress_asking": ("asking its source", "询问来源"),
    "progress_verifying": ("verifying", "校验中"),
    "progress_building": ("building", "编译中"),
    "progress_writing": ("at work, {size} written", "进行中，已写入 {size}"),
    "progress_still": ("still {what}", "仍在{what}"),
    "progress_waiting": ("still waiting", "仍在等待"),
    "progress_no_bytes": ("still waiting for bytes", "仍在等待数据"),
    "progress_step": ("step {done} of {total}", "第 {done} / {total} 步"),
    "progress_eta": ("ETA {time}", "剩余 {time}"),
    "progress_done": ("done", "完成"),
    "progress_took": (" in {time}", "，用时 {time}"),
    "progress_failed": ("failed", "失败"),
    "progress_files": ("{done} of {total} files", "{done} / {total} 个文件"),
    "progress_files_failed": ("{count} failed", "{count} 个失败"),
    # --- the table of models; by the values of FileStatus
    "models_planned": ("planned", "计划中"),
    "models_ok": ("ok", "已就位"),
    "models_fetch": ("fetch", "将下载"),
    "models_adopt": ("adopt", "将接管"),
    "models_copy": ("copy", "将复制"),
    "models_from_cache": ("from cache", "取自缓存"),
    "models_fetched": ("fetched", "已下载"),
    "models_adopted": ("adopted", "已接管"),
    "models_copied": ("copied", "已复制"),
    "models_removed": ("removed", "已删除"),
    "models_failed": ("failed", "失败"),
    "models_unresolved": ("unresolved", "未确定"),
    "models_no_kind": ("kind unknown", "种类未知"),
    "models_no_size": ("size unknown", "大小未知"),
    "models_one": ("{count} model", "{count} 个模型"),
    "models_many": ("{count} models", "{count} 个模型"),
    "models_more": ("and {count} of unknown size", "其中 {count} 个大小未知"),
    "models_sum_removed": ("removed: {sum}", "已删除：{sum}"),
    # --- the table of hosts
    "heading_host": ("HOST", "主机"),
    "heading_result": ("RESULT", "结果"),
    "heading_changed": ("CHANGED", "改变"),
    "heading_time": ("TIME", "用时"),
    "result_ok": ("ok", "成功"),
    "result_failed": ("failed", "失败"),
    "result_unreachable": ("unreachable", "无法连接"),
    "result_not_run": ("not run", "未运行"),
    "failure": ("{host} failed in {place}: {cause}", "{host} 在 {place} 失败：{cause}"),
    "failure_hint": (
        "Correct that and run the same command again: what is complete stays. -v shows everything.",
        "改正后再运行同一条命令：已完成的部分会保留。-v 显示全部细节。",
    ),
    "no_hosts": (
        "Nothing was done: no host of the inventory is in {hosts}. Its groups are {groups}. Name the group webui, or add -e sdops_hosts=GROUP.",
        "什么都没有做：清单里没有主机属于 {hosts}。清单里的组有 {groups}。请把组命名为 webui，或加上 -e sdops_hosts=GROUP。",
    ),
    "no_inventory": (
        "Nothing was done: no host of the inventory is in {hosts}, and it has no groups. Is -i the right file?",
        "什么都没有做：清单里没有主机属于 {hosts}，也没有任何组。-i 指的文件对吗？",
    ),
    # --- results of the playbooks
    "webui_address": ("WebUI:       {url} on {host}", "WebUI:       {url}（在 {host} 上）"),
    "webui_open": (
        "tunnel:      not needed: open that address in a browser",
        "隧道:        不需要，直接在浏览器里打开这个地址",
    ),
    "webui_tunnel": ("tunnel:      {command}", "隧道:        {command}"),
    "webui_credentials": ("credentials: {path}{hint}", "账号密码:    {path}{hint}"),
    "webui_image": ("test image:  {path}", "测试图:      {path}"),
    "webui_next": (
        "next:        the same command with sdops.webui.status, .fetch_outputs or .stop as the playbook",
        "接下来:      把同一条命令的 playbook 换成 sdops.webui.status、.fetch_outputs 或 .stop",
    ),
    "plan_only": (" (--check: a plan, nothing is changed)", "（--check：只是计划，不做任何改动）"),
    "host_checked": (
        "Every part of {host} is checked, because since the last run: {difference}.",
        "将检查 {host} 的每个部分，因为自上次运行以来：{difference}。",
    ),
    # what that is, by its kind; then the parts that a run is made of
    "difference_record": ("its record cannot be read any more", "它的记录已无法读取"),
    "difference_changed": ("{names} has changed", "{names} 变了"),
    "difference_changed_many": ("{names} have changed", "{names} 变了"),
    "difference_programs": ("the programs of supervisord are in other states", "supervisord 的程序状态变了"),
    "difference_proxy": ("no request gets through the proxy", "请求无法通过代理"),
    "difference_webui": ("the WebUI is not ready", "WebUI 未就绪"),
    "difference_toolbox": ("the toolbox is not whole ({names})", "工具箱不完整（{names}）"),
    "difference_error": ("{names}", "{names}"),
    "part_collection": ("the collection", "本集合"),
    "part_roles": ("the roles", "所运行的角色"),
    "part_fact": ("the fact {name}", "主机信息 {name}"),
    "part_file": ("the file {name}", "文件 {name}"),
    "host_kept": (
        "Nothing has changed on {host} since the last run. To have every part checked again: -e sdops_verify=true",
        "上次运行之后 {host} 没有任何变化。要重新检查每个部分：-e sdops_verify=true",
    ),
    "extensions_unmanaged": (
        "Not in extensions_list, so they stay as they are, and the WebUI goes on loading them: {names}. An entry with state: absent "
        "removes an extension, one with state: disabled keeps it from being loaded.",
        "不在 extensions_list 里，所以保持原样，WebUI 仍会加载：{names}。写成 state: absent 的条目会移除扩展，state: disabled 则不再加载它。",
    ),
    "webui_started": ("The WebUI of {host} runs.", "{host} 的 WebUI 已在运行。"),
    "webui_restarted": ("The WebUI of {host} was restarted and is ready.", "{host} 的 WebUI 已重启并就绪。"),
    "webui_stopped": (
        "The WebUI of {host} is stopped. The playbook start starts it again, and so does the next boot of the host.",
        "{host} 的 WebUI 已停止。playbook start 会再启动它，主机下次开机时也会自动启动。",
    ),
    "start_pending": (
        "Everything is in its place on {host} but nothing was started: {reason} Run the playbook again when the host has its GPU; only the "
        "start is left then. To run on the CPU instead, set sdops_device to cpu.",
        "{host} 上一切就绪，但没有启动：{reason} 有了 GPU 之后再运行一次 playbook，只剩启动这一步。要改用 CPU 运行，请把 sdops_device 设为 cpu。",
    ),
    "start_pending_check": (
        "Everything would be installed on {host} but nothing started: {reason} Run the playbook again when the host has its GPU; only the "
        "start is left then. To run on the CPU instead, set sdops_device to cpu.",
        "{host} 上一切都会装好，但不会启动：{reason} 有了 GPU 之后再运行一次 playbook，只剩启动这一步。要改用 CPU 运行，请把 sdops_device 设为 cpu。",
    ),
    "outputs_fetched": ("{count} images of {host} are in {path}.", "{host} 的 {count} 张图在 {path}。"),
    "version_changed": ("WebUI of {host}: {installed} -> {desired}", "{host} 的 WebUI：{installed} -> {desired}"),
    "version_kept": ("WebUI of {host}: {desired}, as before", "{host} 的 WebUI：{desired}，与之前相同"),
    "version_new": ("WebUI of {host}: {desired}, newly installed", "{host} 的 WebUI：{desired}，新安装"),
    "uninstalled": (
        "sdops.webui is removed from {host}. These stay there:",
        "sdops.webui 已从 {host} 上移除。那里还留下：",
    ),
    "uninstalled_check": (
        "sdops.webui would be removed from {host}. These would stay there:",
        "sdops.webui 将从 {host} 上移除。那里会留下：",
    ),
    "kept_webui": ("the WebUI", "WebUI"),
    "kept_webui_data": (
        "the WebUI with its extensions, settings, models and images",
        "WebUI 及其扩展、设置、模型和图片",
    ),
    "kept_data": ("extensions, settings, models and images of the WebUI", "WebUI 的扩展、设置、模型和图片"),
    "kept_environment": ("the Python environment of the WebUI", "WebUI 的 Python 环境"),
    "kept_caches": ("caches of packages and of the WebUI", "依赖包和 WebUI 的缓存"),
    "kept_model_cache": ("the model cache that hosts share", "多台主机共用的模型缓存"),
    "kept_commit_cache": ("the cache of commits that hosts share", "多台主机共用的提交缓存"),
    "kept_package_cache": ("the cache of packages that hosts share", "多台主机共用的依赖包缓存"),
    "kept_detector": ("the detector of the extension roop", "扩展 roop 的检测模型"),
    "kept_gitconfig": ("settings of git, without the block of this collection", "git 的设置，其中已没有本集合的区块"),
    "kept_boot_hook": ("the start script, without the block of this collection", "开机脚本，其中已没有本集合的区块"),
    "kept_packages": ("Debian packages that the roles have installed", "各角色装过的 Debian 软件包"),
    "kept_artifacts": (
        "On this machine {path} stays: credentials and fetched images",
        "本机上留下 {path}：账号密码和取回的图片",
    ),
    "kept_hint": (
        "With -e sdops_uninstall_data=true the WebUI, models, images, environment and caches of the host are removed too.",
        "加上 -e sdops_uninstall_data=true，主机上的 WebUI、模型、图片、环境和缓存也会移除。",
    ),
    # --- the status of a host
    "status_host": ("host:        {system}, network {network}", "主机:        {system}，网络 {network}"),
    "status_no_route": ("none", "不通"),
    "status_routes": ("routes:      {routes}", "线路:        {routes}"),
    "status_answers": ("WebUI:       {url} answers", "WebUI:       {url} 有响应"),
    "status_silent": ("WebUI:       {url} does not answer", "WebUI:       {url} 没有响应"),
    "status_next": (
        "next:        the same command with sdops.webui.{playbook} as the playbook starts it",
        "接下来:      把同一条命令的 playbook 换成 sdops.webui.{playbook}，就会启动它",
    ),
    "status_checkout": ("but {commit} is checked out", "但检出的是 {commit}"),
    "status_driver": ("driver {version}", "驱动 {version}"),
    "status_capability": ("compute capability {number}", "计算能力 {number}"),
    "status_unknown": ("unknown", "未知"),
    "status_version": ("version", "版本"),
    "status_gpu": ("GPU", "GPU"),
    "status_disks": ("disks", "磁盘"),
    "status_models": ("models", "模型"),
    "status_extensions": ("extensions", "扩展"),
    "status_programs": ("programs", "程序"),
    "status_not_installed": ("not installed", "未安装"),
    "status_none": ("none", "无"),
    "status_no_gpu": ("none: {reason}", "无：{reason}"),
    "status_memory": ("{amount} in use", "已用 {amount}"),
    "status_busy": ("{percent} % busy", "占用 {percent} %"),
    "status_disk": ("{path} {amount} free", "{path} 可用 {amount}"),
    "status_disk_unknown": ("{path} unknown", "{path} 未知"),
    "status_sum": ("in all {size}", "共 {size}"),
    "status_disabled": ("disabled: {names}", "已停用：{names}"),
    "status_unfetched": (", which the playbook site fetches", "，由 playbook site 取回"),
    "status_no_supervisord": ("none (supervisord is not running)", "无（supervisord 没有运行）"),
    "status_no_toolbox": (
        "toolbox:     the toolbox does not work ({reason}). The playbook site rebuilds it (--tags base).",
        "工具箱:      工具箱不能用（{reason}）。playbook site 会重建它（--tags base）。",
    ),
    # --- the log of a program
    "log_follows": (
        "{path} is followed; Ctrl-C ends that. The program runs on.",
        "持续显示 {path}，按 Ctrl-C 结束；程序会继续运行。",
    ),
    # --- the plan of a run in check mode
    "plan_toolbox": ("toolbox", "工具箱"),
    "plan_proxy": ("proxy", "代理"),
    "plan_environment": ("environment", "环境"),
    "plan_webui": ("WebUI", "WebUI"),
    "plan_models": ("models", "模型"),
    "plan_extensions": ("extensions", "扩展"),
    "plan_service": ("service", "服务"),
    "plan_nothing": ("nothing to do", "没有要做的"),
    "plan_more": ("and {count} more", "以及另外 {count} 项"),
}


def detect_language(environment: Mapping[str, str] | None = None) -> str:
    """The one of LANGUAGES that a locale asks for, by the variables that gettext reads; ``en`` for all others."""
    environment = os.environ if environment is None else environment
    locale = next((environment[name] for name in LOCALE_VARIABLES if environment.get(name)), "")
    # of LANGUAGE, a list, the first that is known
    wanted = [part[:2].lower() for part in locale.split(":")]
    return next((language for language in wanted if language in LANGUAGES), LANGUAGES[0])


def message(key: str, language: str = "auto", **values: object) -> str:
    """The text with that key; any other than LANGUAGES, such as ``auto``, is the language of this process.

    Raises KeyError for a key or field that is not there.
    """
    language = language if language in LANGUAGES else detect_language()
    return MESSAGES[key][LANGUAGES.index(language)].format(**values)
