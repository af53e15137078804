"""Settings: from a YAML file, overridden by the environment (``COXSWAIN_HORIZON__LENGTH_S=60``), checked together.

Durations are in seconds. A setting that is unknown, out of range or at odds with another is refused by name.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableSettingsError

from controller.demand.policy import DemandPolicy, Headroom
from controller.demand.rules import EstimatorName
from controller.errors import SettingsError
from controller.records import HorizonPolicy
from controller.yaml_file import load_yaml


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class KafkaSettings(_Section):
    """How to reach the broker, how to be let in, and how soon to give up on it."""

    bootstrap_servers: str = Field(default="127.0.0.1:9092", min_length=1)
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    ssl_ca_file: Path | None = Field(default=None, description="PEM; without it, the system's authorities")
    ssl_cert_file: Path | None = Field(default=None, description="PEM of this client, for mutual TLS")
    ssl_key_file: Path | None = Field(default=None, description="PEM of its key, not encrypted")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: str | None = Field(default=None, min_length=1)
    sasl_password: SecretStr | None = Field(
        default=None, min_length=1, description="by the environment; never in the settings file"
    )
    sasl_password_file: Path | None = Field(default=None, description="holds the password and nothing else")
    allow_plaintext_password: bool = Field(default=False, description="lets SASL_PLAINTEXT pass")
    session_timeout_s: float = Field(
        default=20.0, gt=0, description="a silent worker loses its partitions after it"
    )
    heartbeat_interval_s: float = Field(default=3.0, gt=0)
    request_timeout_s: float = Field(default=15.0, gt=0)
    commit_interval_s: float = Field(default=1.0, gt=0)
    stall_timeout_s: float = Field(
        default=60.0, gt=0, description="a worker that has records to read and reads none ends after it"
    )

    @model_validator(mode="after")
    def _security_is_whole(self) -> Self:
        protocol = self.security_protocol
        has_sasl, has_tls = protocol.startswith("SASL"), protocol.endswith("SSL")
        given = (self.sasl_password is not None) + (self.sasl_password_file is not None)
        if has_sasl and (self.sasl_mechanism is None or self.sasl_username is None or given != 1):
            raise ValueError(
                f"{protocol} needs sasl_mechanism, sasl_username, and one of sasl_password and sasl_password_file"
            )
        if not has_sasl and (self.sasl_mechanism is not None or self.sasl_username is not None or given):
            raise ValueError(f"sasl_* settings need security_protocol SASL_SSL, not {protocol}")
        if has_sasl and not has_tls and not self.allow_plaintext_password:
            raise ValueError(
                "SASL_PLAINTEXT sends a password over the network unprotected: use SASL_SSL, "
                "or set allow_plaintext_password"
            )
        files = (self.ssl_ca_file, self.ssl_cert_file, self.ssl_key_file)
        if not has_tls and any(file is not None for file in files):
            raise ValueError(f"ssl_* settings need security_protocol SSL or SASL_SSL, not {protocol}")
        if (self.ssl_cert_file is None) != (self.ssl_key_file is None):
            raise ValueError("ssl_cert_file and ssl_key_file go together")
        return self

    def security_options(self) -> dict[str, Any]:
        """Return what :class:`controller.kafka.KafkaConnection` takes as ``security``; files are read now.

        Raises
        ------
        SettingsError : a file cannot be read, or is not what it should be.
        """
        options: dict[str, Any] = {"security_protocol": self.security_protocol}
        if self.security_protocol.endswith("SSL"):
            options["ssl_context"] = self._ssl_context()
        if self.sasl_mechanism is not None:
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self._password(),
            }
        return options

    def _ssl_context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ssl_ca_file)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                "kafka.ssl_ca_file", f"must be readable PEM: {error}", str(self.ssl_ca_file)
            ) from None
        if self.ssl_cert_file is not None:
            try:
                # A password of nothing: an encrypted key is refused, instead of asked for on the terminal.
                context.load_cert_chain(self.ssl_cert_file, self.ssl_key_file, password="")
            except (OSError, ssl.SSLError) as error:
                raise SettingsError(
                    "kafka.ssl_cert_file",
                    f"must be readable PEM with its key: {error}",
                    str(self.ssl_cert_file),
                ) from None
        return context

    def _password(self) -> str:
        if self.sasl_password is not None:
            return self.sasl_password.get_secret_value()
        assert self.sasl_password_file is not None  # noqa: S101 - one of the two is there
        try:
            password = self.sasl_password_file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
            raise SettingsError(
                "kafka.sasl_password_file", f"cannot be read: {reason}", str(self.sasl_password_file)
            ) from None
        if not password:
            raise SettingsError(
                "kafka.sasl_password_file", "must hold a password", str(self.sasl_password_file)
            )
        return password


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


class DemandSettings(_Section):
    """What is expected of demand, how much is planned for beyond it, and how fast that may go down."""

    estimator: EstimatorName = "mean_reverting"
    headroom: Headroom = "quantile"
    quantile: float | None = Field(
        default=None, ge=0.5, le=0.999, description="none: each type's own, 1 - rent / penalty"
    )
    stabilization_horizons: int = Field(
        default=3, ge=1, le=288, description="down only to the largest of so many last targets"
    )
    max_step_up: float | None = Field(default=None, gt=1, description="largest factor in one horizon")
    max_step_down: float | None = Field(default=0.5, gt=0, le=1, description="largest fall in one horizon")
    retention_s: float = Field(
        default=900.0, ge=0, description="proved idle for this long, nothing is planned for"
    )
    late_share: float = Field(
        default=0.05, gt=0, lt=1, description="of requests that may wait too long, with queueing headroom"
    )
    surge_sigmas: float = Field(
        default=5.0, gt=0, description="beyond what is planned for, that are no noise"
    )
    surge_cooldown_s: float = Field(default=60.0, ge=0, description="between two surges that are answered")
    surges_per_horizon: int = Field(default=3, ge=0, description="that are answered at most; 0 for none")


class IngestSettings(_Section):
    """What input is taken."""

    max_event_bytes: int = Field(
        default=16_384, ge=256, description="a larger record is refused before it is parsed"
    )
    duplicate_window_records: int = Field(
        default=4096, ge=0, description="per partition, in which an event_id counts once"
    )
    snapshot_interval_s: float = Field(
        default=0.2,
        gt=0,
        description="between publications of changed totals, beside those when a bucket closes",
    )
    refresh_interval_s: float = Field(
        default=5.0, gt=0, description="and at least this often, of silent partitions too"
    )


class SolverSettings(_Section):
    """How plans are searched for."""

    method: Literal["agh", "agh-plain", "gh", "milp", "lpr", "dvr", "hf", "melange"] = "agh"
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
    demand: DemandSettings = DemandSettings()
    ingest: IngestSettings = IngestSettings()
    solver: SolverSettings = SolverSettings()

    @model_validator(mode="after")
    def _a_cadence_that_can_be_kept(self) -> Self:
        horizon = self.horizon
        if self.solver.deadline_s > horizon.length_s:
            raise ValueError(
                f"solver.deadline_s ({self.solver.deadline_s:g}) must be at most horizon.length_s "
                f"({horizon.length_s:g}): a plan must be there before the next is due"
            )
        if horizon.idle_timeout_s < horizon.bucket_s:
            raise ValueError(
                f"horizon.idle_timeout_s ({horizon.idle_timeout_s:g}) must be at least bucket_s "
                f"({horizon.bucket_s:g}): a source that reports once a bucket is not silent"
            )
        return self

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


def horizon_policy(settings: Settings) -> HorizonPolicy:
    """Return how horizons are planned, by the settings."""
    horizon = settings.horizon
    return HorizonPolicy(
        horizon_s=horizon.length_s,
        validity_s=horizon.length_s * horizon.validity_horizons,
        min_improvement=horizon.min_improvement,
        demand=DemandPolicy(**settings.demand.model_dump()),
    )


def load_settings(path: Path | None) -> Settings:
    """Read settings from a YAML file (none: the defaults) and the environment.

    A relative ``catalog``, and the files of ``kafka``, are looked for beside the file.

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
    kafka = written.get("kafka")
    if isinstance(kafka, dict) and "sasl_password" in kafka:
        raise SettingsError(
            "kafka.sasl_password",
            "must not stand in the settings file: use COXSWAIN_KAFKA__SASL_PASSWORD or sasl_password_file",
        )
    try:
        settings = Settings(**written)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "settings"
        rule = str(first["msg"]).removeprefix("Value error, ")
        # A value that is refused may be a password, under its own name or under one that was misspelt.
        if first["type"] == "value_error" or where.startswith("kafka"):
            raise SettingsError(where, rule) from None
        raise SettingsError(where, rule, first["input"]) from None
    except UnreadableSettingsError as error:
        raise SettingsError("environment", str(error)) from None
    except TypeError as error:
        raise SettingsError(str(path), f"names must be text: {error}") from None
    return settings if path is None else _beside(path.parent, settings)


def _beside(folder: Path, settings: Settings) -> Settings:
    """Resolve the files that settings name, from the folder of the settings file."""
    kafka = settings.kafka
    files = ("ssl_ca_file", "ssl_cert_file", "ssl_key_file", "sasl_password_file")
    named = {name: folder / file for name in files if (file := getattr(kafka, name)) is not None}
    catalog = None if settings.catalog is None else folder / settings.catalog
    return settings.model_copy(update={"catalog": catalog, "kafka": kafka.model_copy(update=named)})
