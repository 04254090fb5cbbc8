"""Settings: every rule of the table, all problems at once, nothing secret shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest

from worker.config import NEEDS, SETTINGS, Settings, SettingsError, examine, masked, read

DITIO = {
    "DITIO_API_BASE": "https://core-api.ditio.dev/core",
    "DITIO_IDENTITY_BASE": "https://identity.ditio.dev",
    "DITIO_CLIENT_ID": "erp",
    "DITIO_CLIENT_SECRET": "s3cret-value",
    "DITIO_COMPANY_ID": "5f0000000000000000000001",
    "HOME": "/home/erp",
}


def given(**more: str) -> dict[str, str]:
    """An environment that has what is required, and more."""
    return {**DITIO, **more}


def problems(environ: Mapping[str, str]) -> tuple[str, ...]:
    """What `read` complains about."""
    with pytest.raises(SettingsError) as raised:
        read(environ)
    return raised.value.problems


def test_required_settings_alone_are_enough_and_the_rest_has_the_documented_defaults() -> None:
    settings = read(given())

    assert settings.amqp_url() == ("amqp://guest:guest@127.0.0.1:5672/%2F",)
    assert settings.ditio_client_secret() == "s3cret-value"
    assert (settings.ditio_scope, settings.ditio_person_id) == ("ditioapiv3", "identityId")
    assert (settings.ditio_timeout_s, settings.ditio_settle_s, settings.ditio_max_requests_per_s) == (10, 30, None)
    assert (settings.ditio_client_ids, settings.ditio_allow_http) == (False, False)
    assert settings.ledger_url().place == Path("/home/erp/.local/share/ditio-worker/ledger.db")
    assert (settings.worker_queue_prefix, settings.worker_binding_keys) == ("workorders", ("#",))
    assert (settings.worker_declare, settings.worker_partitions) == (True, 1)
    assert settings.worker_sources.labels == ("all",)
    assert (settings.worker_http_address.host, settings.worker_http_address.port) == ("127.0.0.1", 9108)
    assert (settings.worker_max_in_flight, settings.worker_prefetch) == (64, 512)
    assert settings.worker_max_message_bytes == 1_048_576
    assert (settings.worker_order_by, settings.worker_max_skew_s) == ("time", 600)
    assert settings.worker_date_zone.key == "Europe/Oslo"
    assert (settings.worker_create_active, settings.worker_create_only_fields) == (True, frozenset())
    assert (settings.worker_unknown_fields, settings.worker_on_delete) == ("error", "deactivate")
    assert (settings.worker_mark_parents, settings.worker_resend) == (True, False)
    assert (settings.worker_max_deactivations_per_h, settings.worker_tables_file) == (1000, None)
    assert (settings.worker_wait_steps_s, settings.worker_wait_max_s) == ((10, 60, 600, 3600), 604_800)
    assert (settings.worker_drain_s, settings.worker_history_days) == (25, 30)
    assert (settings.worker_log_format, settings.worker_log_level) == ("json", "info")
    assert settings.warnings == ()


def test_the_table_and_the_attributes_name_the_same_settings() -> None:
    attributes = {field.name for field in fields(Settings)} - {"warnings"}

    assert {setting.attribute for setting in SETTINGS} == attributes
    assert all(setting.meaning.endswith(".") for setting in SETTINGS)


def test_all_problems_are_reported_together_each_with_what_to_do() -> None:
    # Given: nothing that is required, and three mistakes
    environ = {"HOME": "/h", "WORKER_PREFETCH": "many", "WORKER_ON_DELETE": "remove", "DITIO_TIMEOUT_S": "0"}

    # When
    found = problems(environ)

    # Then
    assert found == (
        "DITIO_API_BASE: is required; set it, for example https://core-api.ditio.dev/core",
        "DITIO_IDENTITY_BASE: is required; set it, for example https://identity.ditio.dev",
        "DITIO_CLIENT_ID: is required; set it",
        "DITIO_CLIENT_SECRET: is required; set it, or DITIO_CLIENT_SECRET_FILE to the path of a file that holds it",
        "DITIO_COMPANY_ID: is required; set it",
        'DITIO_TIMEOUT_S: expected a number from 0.1 to 120, got "0"',
        'WORKER_PREFETCH: expected a whole number from 1 to 65,535, got "many"',
        'WORKER_ON_DELETE: expected deactivate or delete, got "remove"',
    )


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("AMQP_URL", "http://127.0.0.1", "must begin with amqp:// or amqps://"),
        ("AMQP_URL", "amqp://a:b@h1/,h2:5672", "address 2 must begin with"),
        ("AMQP_URL", "amqp://a:b@h1:99999/", "look at its port"),
        ("AMQP_URL", "amqp://a:b@h1/one/two", "%2F"),
        ("AMQP_CERT_FILE", __file__, "only together with AMQP_KEY_FILE"),
        ("AMQP_CA_FILE", "/nowhere/ca.pem", "cannot read /nowhere/ca.pem: no such file"),
        ("DITIO_API_BASE", "core-api.ditio.dev/core", "begins with https://"),
        ("DITIO_API_BASE", "ftp://core-api.ditio.dev/core", "begins with https://"),
        ("DITIO_API_BASE", "https://user:pw@core-api.ditio.dev/core", "neither user"),
        ("DITIO_API_BASE", "http://ditio.example.com/core", "or set DITIO_ALLOW_HTTP=true"),
        ("DITIO_IDENTITY_BASE", "http://10.0.0.1", "or set DITIO_ALLOW_HTTP=true"),
        ("DITIO_PERSON_ID", "employeeNumber", "identityId or companyProfileId"),
        ("DITIO_CLIENT_IDS", "maybe", "true or false"),
        ("DITIO_TIMEOUT_S", "nan", "from 0.1 to 120"),
        ("DITIO_MAX_REQUESTS_PER_S", "0", "from 0.1"),
        ("LEDGER_URL", "postgresql://u:pw@db", "expected postgresql://user:password@host/database"),
        ("LEDGER_URL", "postgresql:///ledger", "expected postgresql://user:password@host/database"),
        ("LEDGER_URL", "postgresql://u:p%23w@db/ledger#1", "holds a #"),
        ("LEDGER_URL", "mysql://db/ledger", "three slashes"),
        ("LEDGER_URL", "sqlite://ledger.db", "three slashes"),
        ("LEDGER_URL", "sqlite:///:memory:", "must outlive the worker"),
        ("LEDGER_URL", "sqlite:////tmp", "is no file"),
        ("WORKER_QUEUE_PREFIX", "amq.work", 'not beginning with "amq."'),
        ("WORKER_QUEUE_PREFIX", "work orders", "letters, digits"),
        ("WORKER_BINDING_KEYS", "a,,b", "nothing between two commas"),
        ("WORKER_BINDING_KEYS", "ø" * 128, "255 bytes"),
        ("WORKER_SOURCES", "/erp/*", "name=pattern"),
        ("WORKER_SOURCES", "unknown=/erp/*", "a meaning of its own"),
        ("WORKER_HTTP_ADDRESS", "127.0.0.1", "host:port"),
        ("WORKER_HTTP_ADDRESS", "127.0.0.1:70000", "host:port"),
        ("WORKER_HTTP_ADDRESS", "::1:9108", "[::1]:9108"),
        ("WORKER_MAX_SKEW_S", "-1", "from 0 to"),
        ("WORKER_DATE_ZONE", "Oslo", "such as Europe/Oslo"),
        ("WORKER_DATE_ZONE", "../etc", "such as Europe/Oslo"),
        ("WORKER_CREATE_ONLY_FIELDS", "nam", 'did you mean "name"?'),
        ("WORKER_CREATE_ONLY_FIELDS", "status", 'no field "status"'),
        ("WORKER_TABLES_FILE", "/nowhere/tables.toml", "cannot read"),
        ("WORKER_WAIT_STEPS_S", "10,10", "longer than the one before"),
        ("WORKER_WAIT_STEPS_S", "60,10", "longer than the one before"),
        ("WORKER_WAIT_STEPS_S", "0.5,1", "whole number"),
        ("WORKER_WAIT_STEPS_S", "0,1", "from 1 to"),
        ("WORKER_PARTITIONS", "4", "not supported yet"),
        ("WORKER_DRAIN_S", "soon", "a number"),
        ("WORKER_LOG_LEVEL", "INFO", "debug or info"),
    ],
)
def test_each_rule_is_checked_and_named(name: str, value: str, says: str) -> None:
    found = problems(given(**{name: value}))

    assert len(found) == 1
    assert found[0].startswith(f"{name}: ")
    assert says in found[0]


def test_http_is_allowed_for_loopback_hosts_and_when_asked_for() -> None:
    for host in ("127.0.0.1:8080", "127.9.9.9", "localhost:1", "[::1]:8080", "ditio.localhost"):
        assert read(given(DITIO_API_BASE=f"http://{host}/core/")).ditio_api_base == f"http://{host}/core"
    allowed = given(DITIO_API_BASE="http://ditio.example.com/core", DITIO_ALLOW_HTTP="true")
    assert read(allowed).ditio_api_base == "http://ditio.example.com/core"


def test_host_that_only_looks_like_loopback_is_refused_over_http() -> None:
    for host in ("127.0.0.1.example.com", "localhost.example.com", "128.0.0.1"):
        assert len(problems(given(DITIO_API_BASE=f"http://{host}"))) == 1


def test_an_empty_variable_counts_as_left_out() -> None:
    assert read(given(WORKER_PREFETCH="", DITIO_SCOPE="")).worker_prefetch == 512
    assert problems(given(DITIO_CLIENT_ID=""))[0].startswith("DITIO_CLIENT_ID: is required")


def test_a_secret_comes_from_a_file_and_is_read_again_when_asked_for(tmp_path: Path) -> None:
    # Given
    file = tmp_path / "secret"
    file.write_text("first\n")
    environ = given(DITIO_CLIENT_SECRET="", DITIO_CLIENT_SECRET_FILE=str(file))

    # When
    secret = read(environ).ditio_client_secret

    # Then
    assert secret() == "first"
    file.write_text("second\r\n")
    assert (secret(), secret.hidden()) == ("second", ("second",))


def test_a_secret_file_that_vanishes_leaves_the_value_known_last(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("kept")
    secret = read(given(DITIO_CLIENT_SECRET="", DITIO_CLIENT_SECRET_FILE=str(file))).ditio_client_secret

    file.unlink()

    assert secret() == "kept"


def test_a_secret_file_beside_the_variable_and_unreadable_ones_are_problems(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    file = "DITIO_CLIENT_SECRET_FILE"

    assert "leave out one" in problems(given(**{file: str(tmp_path / "empty")}))[0]
    for name, says in (
        ("empty", "is empty"),
        ("binary", "not UTF-8"),
        ("none", "no such file"),
        (".", "is a directory"),
    ):
        found = problems(given(DITIO_CLIENT_SECRET="", **{file: str(tmp_path / name)}))
        assert len(found) == 1
        assert says in found[0]


def test_every_secret_has_a_file_variable_and_other_settings_have_none(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("amqp://a:b@h/\n")

    assert read(given(AMQP_URL_FILE=str(tmp_path / "url"))).amqp_url() == ("amqp://a:b@h/",)
    assert read(given(DITIO_COMPANY_ID_FILE="x")).warnings[0].startswith("DITIO_COMPANY_ID_FILE is not a setting")


def test_each_command_needs_only_the_settings_that_it_uses() -> None:
    # Given: a worker's settings that are all missing or wrong, but for the broker's
    environ = {"DITIO_API_BASE": "nonsense", "WORKER_PREFETCH": "many", "AMQP_URL": "amqp://broker/"}

    # When
    settings = read(environ, needs=NEEDS["publish"])

    # Then
    assert settings.amqp_url() == ("amqp://broker/",)
    for command in ("validate", "schema", "sandbox", "topology"):
        read(environ, needs=NEEDS[command])


def test_asking_for_a_setting_that_was_not_read_says_so() -> None:
    settings = read({}, needs=NEEDS["publish"])

    with pytest.raises(AttributeError, match="DITIO_API_BASE was not read"):
        _ = settings.ditio_api_base


def test_a_misspelt_variable_is_warned_of_with_the_likely_one() -> None:
    warnings = read(given(WORKER_PREFECH="5", DITIO_TIMEOUT="3", OTHER="1")).warnings

    assert warnings == (
        "DITIO_TIMEOUT is not a setting and has no effect; did you mean DITIO_TIMEOUT_S?",
        "WORKER_PREFECH is not a setting and has no effect; did you mean WORKER_PREFETCH?",
    )


def test_the_variables_that_kubernetes_makes_for_a_service_are_no_slips() -> None:
    links = {
        "WORKER_PORT": "tcp://10.0.0.1:80",
        "WORKER_SERVICE_HOST": "10.0.0.1",
        "WORKER_PORT_80_TCP_ADDR": "10.0.0.1",
    }

    assert read(given(**links)).warnings == ()


def test_what_was_most_likely_meant_otherwise_is_warned_of() -> None:
    mixed = given(DITIO_API_BASE="https://core-api.ditio.dev", DITIO_IDENTITY_BASE="https://identity.ditio.app")

    warnings = read(mixed).warnings

    assert "under /core" in warnings[0]
    assert "different environments" in warnings[1]
    assert "no effect" in read(given(AMQP_CA_FILE=__file__)).warnings[0]
    assert read(given(AMQP_CA_FILE=__file__, AMQP_URL="amqps://h/")).warnings == ()


def test_sources_are_named_by_the_first_pattern_that_matches() -> None:
    settings = read(given(WORKER_SOURCES="visma=/erp/visma/*, sap=/erp/sap/*,visma=/old/*"))

    assert settings.worker_sources.labels == ("visma", "sap")
    assert settings.worker_sources.source_of("/erp/sap/12/x") == "sap"
    assert settings.worker_sources.source_of("/old/1") == "visma"
    assert settings.worker_sources.source_of("/ERP/sap/12") is None
    assert read(given()).worker_sources.source_of("/anything") == "all"


def test_projects_match_whole_numbers_by_pattern() -> None:
    projects = read(given(WORKER_PROJECTS="P-2026-*,3210105")).worker_projects

    assert projects.match("P-2026-001")
    assert projects.match("3210105")
    assert not projects.match("XP-2026-001")
    assert not projects.match("")
    assert read(given()).worker_projects.match("")


def test_addresses_take_names_ipv6_and_port_zero() -> None:
    cases = {"0.0.0.0:80": ("0.0.0.0", 80), "[::1]:0": ("::1", 0), ":9108": ("", 9108), "localhost:1": ("localhost", 1)}

    for text, (host, port) in cases.items():
        address = read(given(WORKER_HTTP_ADDRESS=text)).worker_http_address
        assert (address.host, address.port) == (host, port)


@pytest.mark.parametrize(
    "url", ["postgresql://u:s3cr%40t@db/ledger", "postgres://u:s3cr%40t@db1:5432,db2:5433/ledger?sslmode=require"]
)
def test_the_ledger_may_be_a_database_whose_password_is_hidden_also_when_it_comes_from_a_file(url: str, tmp_path: Path) -> None:
    # Given
    file = tmp_path / "ledger-url"
    file.write_text(f"{url}\n")
    # When
    for settings in (read(given(LEDGER_URL=url)), read(given(LEDGER_URL_FILE=str(file)))):
        # Then
        assert settings.ledger_url().place == url
        assert "s3cr" not in repr(settings) + repr(settings.ledger_url())
        assert {"s3cr%40t", "s3cr@t"} <= set(settings.hidden())
    shown = {each.name: each.shown for each in examine(given(LEDGER_URL=url)).effective}
    assert "s3cr" not in str(shown["LEDGER_URL"])


def test_the_ledger_is_a_full_path_however_many_slashes_and_follows_the_data_folder() -> None:
    assert read(given(LEDGER_URL="sqlite:////var/a%20b.db")).ledger_url().place == Path("/var/a b.db")
    assert read(given(LEDGER_URL="sqlite:///var/a.db")).ledger_url().place == Path("/var/a.db")
    for url in ("", "sqlite:///"):
        path = read(given(LEDGER_URL=url, XDG_DATA_HOME="/data/æ #1")).ledger_url().place
        assert path == Path("/data/æ #1/ditio-worker/ledger.db")
    assert "no home folder" in problems(given(HOME=""))[0]


def test_the_tables_file_is_read_with_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "tables.toml"
    file.write_text('[unit]\n"m³" = "1"\n', encoding="utf-8")

    tables = read(given(WORKER_TABLES_FILE=str(file))).worker_tables_file

    assert tables is not None
    assert (tables.path, tables.text) == (file, '[unit]\n"m³" = "1"\n')


def test_create_only_fields_are_ditios_also_when_the_event_calls_them_otherwise() -> None:
    assert read(given(WORKER_CREATE_ONLY_FIELDS="name, mainForeman")).worker_create_only_fields == {
        "name",
        "mainForemanId",
    }


def test_the_proxy_is_read_in_either_spelling() -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        proxy = read(given(**{name: "proxy:3128"})).https_proxy
        assert proxy is not None
        assert proxy() == "http://proxy:3128"
    assert read(given(no_proxy="a,.b")).no_proxy == ("a", ".b")


SECRET_URLS = {
    "amqp://user:pa55word@h1:5672/%2F": "amqp://user:***@h1:5672/%2F",
    "amqp://user:pa55word@h1/,amqps://u:pa55word@h2/v": "amqp://user:***@h1/,amqps://u:***@h2/v",
    "amqp://user:p@pa55word@h1/": "amqp://user:***@h1/",
    "amqp://user:pa/55word@h1/": "***",
    "amqp://user:pa,55word@h1/": "***",
    "postgresql://u@h/db?password=pa55word&sslmode=require": "postgresql://u@h/db?password=***&sslmode=require",
    "sqlite:////var/ledger.db": "sqlite:////var/ledger.db",
    "amqp://h1/": "amqp://h1/",
    "pa55word": "***",
    "": "",
}


@pytest.mark.parametrize(("text", "shown"), SECRET_URLS.items())
def test_of_an_address_all_but_the_password_is_shown(text: str, shown: str) -> None:
    assert masked(text) == shown


@pytest.mark.parametrize("url", SECRET_URLS)
def test_no_problem_and_no_display_repeats_a_secret(url: str) -> None:
    for name in ("AMQP_URL", "LEDGER_URL", "HTTPS_PROXY", "DITIO_CLIENT_SECRET"):
        examination = examine(given(**{name: url}))
        settings = Settings.of(examination.values)
        text = repr((examination.problems, examination.effective, settings, str(settings)))
        assert "55word" not in text


def test_what_is_in_force_is_shown_with_its_origin(tmp_path: Path) -> None:
    # Given
    file = tmp_path / "secret"
    file.write_text("s3cret-value")
    environ = given(DITIO_CLIENT_SECRET="", DITIO_CLIENT_SECRET_FILE=str(file), DITIO_COMPANY_ID="")

    # When
    shown = {each.name: (each.shown, each.origin) for each in examine(environ).effective}

    # Then
    assert shown["DITIO_CLIENT_SECRET"] == ("***", str(file))
    assert shown["DITIO_CLIENT_ID"] == ("erp", "environment")
    assert shown["DITIO_COMPANY_ID"] == (None, "missing")
    assert shown["AMQP_URL"] == ("amqp://guest:***@127.0.0.1:5672/%2F", "default")
    assert shown["WORKER_SOURCES"] == (None, "default")


def test_the_texts_to_hide_are_the_secrets_and_the_passwords_of_addresses_encoded_or_not() -> None:
    settings = read(given(AMQP_URL="amqp://u:a%2Fb@h1/,amqp://u:c@h2/", HTTPS_PROXY="http://u:proxy@h", LEDGER_URL=""))

    assert settings.hidden() == ("a%2Fb", "a/b", "c", "s3cret-value", "proxy")


def test_a_client_secret_is_hidden_as_a_whole_even_if_it_looks_like_an_address() -> None:
    shown = {each.name: each.shown for each in examine(given(DITIO_CLIENT_SECRET="https://host/s3cret")).effective}

    assert shown["DITIO_CLIENT_SECRET"] == "***"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        read(given()).worker_prefetch = 1  # type: ignore[misc]  # that it is refused is the point
