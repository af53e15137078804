"""The layout is a rule: a module imports only from rows above its own."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# From the bottom up. What is on one row may import from the rows before it, and from its own package.
ROWS = [
    ["controller.errors", "controller.text_file", "controller.clock", "controller.logs", "controller"],
    ["controller.domain"],
    ["controller.demand"],
    ["controller.optimizer"],
    ["controller.records"],
    ["controller.service_levels", "controller.replan"],
    ["controller.horizon"],
    ["controller.simulate"],
    ["controller.yaml_file"],
    ["controller.settings", "controller.kafka"],
    ["controller.broker"],
    ["controller.router"],
    ["controller.stream"],
    ["controller.demo"],
    ["controller.commands"],
    ["controller.cli"],
    ["controller.__main__"],
]
PURE = (
    "controller.domain",
    "controller.demand",
    "controller.optimizer",
    "controller.records",
    "controller.service_levels",
    "controller.replan",
    "controller.horizon",
)
CORE_MAY_NOT = {
    "aiokafka", "asyncio", "click", "confluent_kafka", "faust", "http", "pydantic", "requests", "rich", "schemas",
    "socket", "structlog", "yaml",
}  # fmt: skip
SOLVER_LIBRARIES = {"pulp", "highspy"}


def modules(package: str) -> list[tuple[str, Path]]:
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        found.append((".".join(parts), path))
    return found


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where a name comes from"
            assert node.module is not None
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def row_of(module: str) -> int:
    best, found = "", -1
    for number, row in enumerate(ROWS):
        for name in row:
            if (module == name or module.startswith(name + ".")) and len(name) > len(best):
                best, found = name, number
    return found


@pytest.mark.parametrize(("module", "path"), modules("controller"))
def test_a_module_of_the_controller_imports_from_rows_above_its_own_only(module: str, path: Path) -> None:
    own = row_of(module)
    if module != "controller":
        assert own > 0 or module.count(".") == 1, f"{module} stands on no row: give it one"
    for name in imports(path):
        if name.startswith("controller."):
            assert row_of(name) <= own, f"{module} imports {name}, which stands below it"


@pytest.mark.parametrize(("module", "path"), [(m, p) for m, p in modules("controller") if m.startswith(PURE)])
def test_the_core_knows_nothing_of_the_world(module: str, path: Path) -> None:
    found = {name.split(".")[0] for name in imports(path)} & CORE_MAY_NOT
    assert not found, f"{module} imports {sorted(found)}"


@pytest.mark.parametrize(
    ("module", "path"),
    [
        (m, p)
        for m, p in modules("controller")
        if m.startswith(("controller.domain", "controller.demand", "controller.horizon"))
    ],
)
def test_solver_libraries_stay_in_the_optimizer(module: str, path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & SOLVER_LIBRARIES


@pytest.mark.parametrize(("module", "path"), modules("schemas"))
def test_schemas_import_nothing_else_of_ours(module: str, path: Path) -> None:
    assert not [name for name in imports(path) if name.split(".")[0] in ("controller", "replay")]


@pytest.mark.parametrize(("module", "path"), modules("replay"))
def test_replay_imports_schemas_clock_errors_and_logs_only(module: str, path: Path) -> None:
    allowed = ("controller.clock", "controller.errors", "controller.logs")
    ours = [name for name in imports(path) if name.startswith("controller")]
    assert all(name.startswith(allowed) for name in ours), ours


@pytest.mark.parametrize(("module", "path"), modules("controller/router"))
def test_the_router_needs_no_faust(module: str, path: Path) -> None:
    assert "faust" not in {name.split(".")[0] for name in imports(path)}
