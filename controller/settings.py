"""Settings: from a YAML file, overridden by the environment (``COXSWAIN_HORIZON__LENGTH_S=60``), checked together.

Durations are in seconds. A setting that is unknown, out of range or at odds with another is refused by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from controller.errors import SettingsError
from controller.yaml_file import load_yaml


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class KafkaSettings(_Section):
    """How to reach the broker, and how soon to give up on it."""

    bootstrap_servers: str = Field(default="127.0.0.1:9092", min_length=1)
    session_timeout_s: float = Field(
        default=20.0, gt=0, description="a silent worker loses its partitions after it"
    )
    heartbeat_interval_s: float = Field(default=3.0, gt=0)
    request_timeout_s: float = Field(default=15.0, gt=0)
    commit_interval_s: float = Field(default=1.0, gt=0)


class HorizonSettings(_Section):
    """How time is cut up, and what counts as too late, too early and silent."""

    length_s: float = Field(
        default=300.0, gt=0, description="of a horizon, and of the window it is planned from"
    )
    bucket_s: float = Field(default=10.0, gt=0)
    allowed_lateness_s: float = Field(default=30.0, ge=0, description="how far out of order a source may be")
    idle_timeout_s: float = Field(
        default=60.0, gt=0, description="a silent partition holds nothing back after it"
    )
    max_skew_s: float = Field(default=60.0, ge=0, description="how far ahead of the clock an event may be")
    validity_horizons: float = Field(
        default=2.0, ge=1, description="a plan is reported stale this many horizons in"
    )
    min_improvement: float = Field(
        default=0.005, ge=0, lt=1, description="by which a new plan must be cheaper"
    )

    @model_validator(mode="after")
    def _buckets_fill_the_horizon(self) -> Self:
        buckets = self.length_s / self.bucket_s
        if abs(buckets - round(buckets)) > 1e-9 or buckets < 1:
            raise ValueError(
                f"horizon.length_s ({self.length_s:g}) must be a multiple of bucket_s ({self.bucket_s:g})"
            )
        return self


class IngestSettings(_Section):
    """What input is taken."""

    max_event_bytes: int = Field(
        default=16_384, ge=256, description="a larger record is refused before it is parsed"
    )
    duplicate_window_records: int = Field(
        default=4096, ge=0, description="per partition, in which an event_id counts once"
    )
    snapshot_interval_s: float = Field(
        default=0.2, gt=0, description="at most this often are totals published"
    )
    refresh_interval_s: float = Field(
        default=5.0, gt=0, description="and at least this often, of silent partitions too"
    )


class SolverSettings(_Section):
    """How plans are searched for."""

    method: Literal["agh", "gh", "milp"] = "agh"
    time_limit_s: float = Field(default=1.0, gt=0)
    iterations: int | None = Field(
        default=None, ge=1, description="bounds the search instead of time: the same plan every time"
    )
    seed: int = Field(default=0, ge=0)
    deadline_s: float = Field(default=10.0, gt=0, description="the solver's process is killed after it")
    memory_mb: int = Field(default=2048, ge=256, description="the solver's process gets no more")

    @model_validator(mode="after")
    def _deadline_beyond_the_limit(self) -> Self:
        if self.iterations is None and self.deadline_s <= self.time_limit_s:
            raise ValueError(
                f"solver.deadline_s ({self.deadline_s:g}) must be above time_limit_s ({self.time_limit_s:g})"
            )
        return self


class Settings(BaseSettings):
    """Everything that a worker can be told."""

    model_config = SettingsConfigDict(
        env_prefix="COXSWAIN_", env_nested_delimiter="__", frozen=True, extra="forbid", allow_inf_nan=False
    )

    app_id: str = Field(
        default="coxswain", pattern=r"^[A-Za-z0-9._-]{1,80}$", description="the consumer group"
    )
    catalog: Path | None = Field(default=None, description="YAML file of the fleet; beside the settings file")
    clock: Literal["wall", "replay"] = "wall"
    data_dir: Path = Field(default=Path(".coxswain"), description="where Faust keeps its own files")
    log_level: str = "INFO"
    log_format: Literal["auto", "console", "json"] = "auto"
    kafka: KafkaSettings = KafkaSettings()
    horizon: HorizonSettings = HorizonSettings()
    ingest: IngestSettings = IngestSettings()
    solver: SolverSettings = SolverSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is the library's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment override the file, whose content is what is passed in."""
        return env_settings, init_settings


def load_settings(path: Path | None) -> Settings:
    """Read settings from a YAML file (none: the defaults) and the environment.

    A relative ``catalog`` is looked for beside the file.

    Raises
    ------
    SettingsError : no such file, not YAML, or a setting is refused.
    """
    written: dict[str, Any] = {}
    if path is not None:
        loaded = load_yaml(path, SettingsError)
        if loaded is not None and not isinstance(loaded, dict):
            raise SettingsError(str(path), "must be a mapping of settings", loaded)
        written = loaded or {}
    try:
        settings = Settings(**written)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "settings"
        rule = str(first["msg"]).removeprefix("Value error, ")
        if first["type"] == "value_error":
            raise SettingsError(where, rule) from None
        raise SettingsError(where, rule, first["input"]) from None
    except TypeError as error:
        raise SettingsError(str(path), f"names must be text: {error}") from None
    if path is not None and settings.catalog is not None and not settings.catalog.is_absolute():
        settings = settings.model_copy(update={"catalog": path.parent / settings.catalog})
    return settings
