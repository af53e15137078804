"""What the documents show must work: code, settings, catalogs, messages, command lines, make targets, and links."""

from __future__ import annotations

import ast
import asyncio
import importlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import yaml
from click.testing import CliRunner

from controller.cli import main
from controller.domain.catalog import read_catalog
from controller.router import LogIdentity, PlanSubscriber
from controller.settings import Settings, load_settings
from controller.yaml_file import load_yaml
from replay.cli import replay_command
from schemas import PlanAck
from schemas.export import MESSAGES, schema_version

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    path
    for path in (
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        *sorted((ROOT / "docs").glob("*.md")),
    )
    if path.exists()
]
PLAN = ROOT / "tests" / "data" / "messages" / "plan.json"
MESSAGE_OF = {schema_version(message): message for message in MESSAGES}
ENTRY_POINTS = {
    ("coxswain",): main,
    ("python", "-m", "controller"): main,
    ("python", "-m", "replay"): replay_command,
}


class Block(NamedTuple):
    """A fenced block: where it starts, its language, its text."""

    where: str
    language: str
    text: str


def blocks() -> Iterator[Block]:
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for found in re.finditer(r"^( *)```(\w+)\n(.*?)^\1```", text, re.M | re.S):
            line = text.count("\n", 0, found.start()) + 1
            indent = len(found[1])
            body = "".join(each[indent:] for each in found[3].splitlines(keepends=True))
            yield Block(f"{path.relative_to(ROOT)}:{line}", found[2], body)


BLOCKS = list(blocks())


def of(*languages: str) -> list[Any]:
    return [pytest.param(b, id=b.where) for b in BLOCKS if b.language in languages]


class Line(NamedTuple):
    """One command line of a shell block, and what is printed below it."""

    where: str
    words: list[str]
    output: str

    def __str__(self) -> str:
        return f"{self.where} {' '.join(self.words)}"


def lines() -> Iterator[Line]:
    """Yield the simple commands of all shell blocks. In ``console`` blocks they are marked by ``$``."""
    for block in BLOCKS:
        if block.language not in ("bash", "sh", "shell", "console"):
            continue
        text = block.text.replace("\\\n", " ")
        if block.language == "console":
            shown = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n?)*)", text, re.M)
        else:
            shown = [(line, "") for line in text.splitlines()]
        for line, output in shown:
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
            lexer.whitespace_split = True
            words: list[str] = []
            for word in [*lexer, ";"]:
                if word[0] not in "|&;<>":
                    words.append(word)
                    continue
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    words.pop(0)
                if words:
                    yield Line(block.where, words, output)
                words = []


LINES = list(lines())


def ours(words: list[str]) -> tuple[click.Command, list[str]] | None:
    """Return our command and its arguments, where a command line is one of ours."""
    plain = [Path(words[0]).name, *words[1:]]
    plain[0] = re.sub(r"^python3?(\.\d+)?$", "python", plain[0])
    for entry, command in ENTRY_POINTS.items():
        if tuple(plain[: len(entry)]) == entry:
            return command, plain[len(entry) :]
    return None


def parse(command: click.Command, arguments: list[str]) -> None:
    """Parse a command line down to its last subcommand, without running any; bad usage raises."""
    context = click.Context(command)
    while isinstance(command, click.Group):
        if not arguments or arguments[0] in ("--help", "-h", "--version"):
            return
        name, *arguments = arguments
        found = command.get_command(context, name)
        assert found is not None, f"{command.name or 'coxswain'} has no command {name!r}"
        command = found
        context = click.Context(command, info_name=name, parent=context)
    if "--help" in arguments or "-h" in arguments:
        return
    try:
        command.parse_args(context, arguments)
    except click.BadParameter as error:
        # A file of the reader's own need not be here; all else about it is checked.
        if "does not exist" not in error.message:
            raise


@pytest.mark.parametrize("block", of("python"))
def test_python_in_the_documents_compiles_and_imports_what_exists(block: Block) -> None:
    compile(block.text, block.where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{block.where}: {node.module} has no {alias.name}"


@pytest.mark.parametrize("block", of("yaml", "yml"))
def test_yaml_in_the_documents_is_what_the_readers_take(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "block.yaml"
    path.write_text(block.text)
    data = load_yaml(path)
    if isinstance(data, dict) and str(data.get("schema", "")).startswith("catalog/"):
        read_catalog(data)
    elif isinstance(data, dict) and data.keys() & Settings.model_fields.keys():
        load_settings(path)


@pytest.mark.parametrize("block", of("json"))
def test_json_in_the_documents_is_json_and_messages_are_messages(block: Block) -> None:
    data = json.loads(block.text)
    if isinstance(data, dict) and "schema" in data:
        MESSAGE_OF[data["schema"]].model_validate_json(block.text)


@pytest.mark.parametrize("line", [line for line in LINES if ours(line.words)], ids=str)
def test_a_command_line_of_ours_names_what_exists(line: Line) -> None:
    found = ours(line.words)
    assert found is not None
    parse(*found)


@pytest.mark.parametrize("line", [line for line in LINES if line.words[0] == "make"], ids=str)
def test_a_make_target_exists(line: Line) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {word for word in line.words[1:] if "=" not in word} <= targets


@pytest.mark.parametrize(
    "line", [line for line in LINES if line.output and line.words[:2] == ["coxswain", "check"]], ids=str
)
def test_what_a_check_is_shown_to_print_is_what_it_prints(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(main, line.words[1:])
    assert result.output.strip() == line.output.strip()


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"^ *```.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(
        r"(?:src|srcset|href)=\"([^\"]+)\"", text
    ):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        assert linked.exists(), f"{path.name} links to {target}"
        if fragment and linked.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.M)
            assert fragment in map(anchor, headings), f"{path.name} links to {target}"


class _OnePlan:
    """A broker that holds one plan, and takes note of what is answered."""

    def __init__(self, record: bytes) -> None:
        self._record = record
        self.acks: list[PlanAck] = []

    async def open(self, depth: int) -> tuple[LogIdentity, list[bytes]]:  # noqa: ARG002 - holds one
        return LogIdentity("cluster", "topic"), [self._record]

    async def poll(self, timeout_s: float) -> list[bytes]:  # noqa: ARG002 - nothing to wait for
        await asyncio.sleep(0.01)
        return []

    async def identity(self) -> LogIdentity:
        return LogIdentity("cluster", "topic")

    async def acknowledge(self, ack: PlanAck) -> None:
        self.acks.append(ack)

    async def close(self) -> None:
        return None


def router_example() -> dict[str, Any]:
    (source,) = (
        b.text
        for b in BLOCKS
        if b.language == "python" and "PlanSubscriber(" in b.text and "docs/" in b.where
    )
    namespace: dict[str, Any] = {"__name__": "an_example"}
    exec(compile(source, "docs/operations.md", "exec"), namespace)  # noqa: S102 - our own document
    return namespace


@pytest.mark.parametrize(("replicas", "status"), [(3, "applied"), (2000, "refused")])
async def test_the_router_of_the_documents_routes_by_a_plan_it_takes_and_refuses_one_it_cannot(
    replicas: int, status: str, tmp_path: Path
) -> None:
    document = json.loads(PLAN.read_bytes())
    document["deployments"][0]["replicas"] = replicas
    broker = _OnePlan(json.dumps(document).encode())
    example = router_example()
    example["PlanSubscriber"] = lambda *args, **kwargs: PlanSubscriber(*args, **kwargs, log=broker)
    chosen = await example["serve"]("nowhere:9092", tmp_path, ["chat"] * 4 + ["unheard_of"])
    assert [ack.status for ack in broker.acks] == [status]
    first, second = (deployment["id"] for deployment in document["deployments"])
    expected = sorted([first] * 3 + [second]) if status == "applied" else ["default"] * 4
    assert sorted(chosen[:4]) == sorted(expected)
    assert chosen[4] == "default"


def test_the_documents_were_read() -> None:
    assert {"python", "yaml", "json", "bash", "console"} <= {block.language for block in BLOCKS}
    assert any(ours(line.words) for line in LINES)


def test_a_command_line_that_names_nothing_is_caught() -> None:
    with pytest.raises(AssertionError, match="no command 'sail'"):
        parse(main, ["sail"])
    with pytest.raises(click.NoSuchOption):
        parse(main, ["plans", "--folow"])
    with pytest.raises(click.MissingParameter):
        parse(main, ["router"])


def test_every_package_of_an_entry_point_exists() -> None:
    for entry in ENTRY_POINTS:
        if entry[0] == "python":
            importlib.import_module(entry[-1])


def test_compose_in_the_documents_uses_variables_that_compose_reads() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    known = set(re.findall(r"\$\{([A-Z_]+)", compose))
    services = set(yaml.safe_load(compose)["services"])
    for block in BLOCKS:
        for line in block.text.splitlines():
            if block.language == "bash" and " compose " in line:
                assert set(re.findall(r"\b([A-Z_]+)=", line)) <= known, f"{block.where}: {line}"
                named = re.search(r"compose (?:exec|run)(?: --\w+)* (\w+)", line)
                assert named is None or named[1] in services, f"{block.where}: {line}"
