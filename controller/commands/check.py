"""``coxswain check``: validates a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from controller.commands.options import with_exit_codes
from controller.domain import catalog as catalogs
from controller.domain import instance_file
from controller.domain.catalog import read_catalog
from controller.domain.instance_file import load_instance
from controller.errors import CatalogError, InputError
from controller.settings import load_settings
from controller.yaml_file import load_yaml


@click.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@with_exit_codes
def check_command(file: Path, as_json: bool) -> None:
    """Validate a catalog, an allocation instance, or a settings file; say what is wrong, and where.

    \b
        coxswain check catalog.yaml
        coxswain check instance.json

    Exit code 0 where it is good, 2 where it is not.
    """
    found = _check(file)
    if as_json:
        click.echo(json.dumps({"file": str(file), "valid": True, **found}))
    else:
        facts = ", ".join(
            f"{count} {name.replace('_', ' ')}" for name, count in found.items() if name != "kind"
        )
        click.echo(f"{file}: a valid {found['kind']}" + (f" with {facts}" if facts else ""))


def _check(file: Path) -> dict[str, Any]:
    data = load_yaml(
        file
    )  # JSON is YAML, too; the instance reader reads the file again, by its own stricter rules
    if not isinstance(data, dict):
        raise InputError(str(file), "must be a mapping", data)
    if data.get("format") == instance_file.FORMAT or file.suffix == ".json":
        instance = load_instance(file)
        arrays = instance.arrays
        return {
            "kind": "allocation instance",
            "query_types": arrays.num_types,
            "models": len(instance.models),
            "gpu_tiers": len(instance.gpu_tiers),
            "deployments": arrays.num_deployments,
        }
    if data.get("schema") == catalogs.FORMAT or "query_types" in data:
        catalog = read_catalog(load_yaml(file, CatalogError))
        return {
            "kind": "catalog",
            "query_types": len(catalog.query_types),
            "models": len(catalog.models),
            "gpu_tiers": len(catalog.gpu_tiers),
            "deployments": catalog.instance({}, horizon_h=1.0).arrays.num_deployments,
        }
    load_settings(file)
    return {"kind": "settings file"}
