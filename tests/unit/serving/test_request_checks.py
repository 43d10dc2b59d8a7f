"""Who a request says it is for and from: pages of other sites get nothing, programs go on."""

import pytest
from gateway_client import GatewayClient

from deepicd.config import ServingConfig
from deepicd.config.loading import parse_experiment
from deepicd.errors import ConfigError
from deepicd.serving.errors import RefusedError
from deepicd.serving.ingress.request_checks import check_host

ROUTES = ["/", "/healthz", "/v1/monitor", "/v1/rollouts", "/v1/models", "/v1/model-card"]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""]
)
def test_a_request_for_another_host_is_refused_on_every_route(path, host):
    reply = GatewayClient().get(path, headers={"host": host})
    assert reply.status_code == 421 and "serving.hosts" in reply.text


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:8000", "[::1]:8000"])
def test_a_request_for_this_machine_is_answered(host):
    assert GatewayClient().get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("interface", "hosts", "host", "is_taken"),
    [
        ("127.0.0.1", (), "10.0.0.7", False),
        ("0.0.0.0", (), "10.0.0.7:8000", True),
        ("0.0.0.0", (), "notes.example.org", False),
        ("0.0.0.0", ("Notes.example.org",), "notes.EXAMPLE.org:443", True),
        ("127.0.0.1", ("notes.example.org",), "notes.example.org", True),
        ("10.0.0.7", (), "10.0.0.7", True),
        ("10.0.0.7", (), "[half", False),
    ],
)
def test_names_are_taken_where_they_are_set_and_addresses_where_others_connect(
    interface, hosts, host, is_taken
):
    scope = {"headers": [(b"host", host.encode())]}
    config = ServingConfig(host=interface, hosts=hosts)
    if is_taken:
        check_host(scope, config)
    else:
        with pytest.raises(RefusedError, match="no name of this endpoint"):
            check_host(scope, config)


@pytest.mark.parametrize("name", ["*", "http://a", "a:80", "", "a/b"])
def test_a_host_that_is_no_bare_name_is_refused(name):
    with pytest.raises(ConfigError, match=r"serving\.hosts"):
        parse_experiment({"serving": {"hosts": [name]}}, "x.toml")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:3000"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_page_of_another_site_reads_and_writes_nothing(headers):
    client = GatewayClient(tokens={"s3cret": "admin"})
    headers = {**headers, "authorization": "Bearer s3cret"}
    for reply in (
        client.get("/v1/monitor", headers=headers),
        client.post("/v1/diagnoses", {"note": "Pain."}, headers=headers),
        client.post("/v1/completions", {"model": "v1"}, headers=headers),
        client.post("/v1/labels", {"prediction_id": "a", "code": "I10"}, headers=headers),
    ):
        assert reply.status_code == 403 and "another site" in reply.text
    assert not client.engine.asked and not client.log.labels


def test_the_endpoints_own_page_is_answered():
    headers = {"origin": "http://127.0.0.1", "sec-fetch-site": "same-origin"}
    assert GatewayClient().get("/v1/monitor", headers=headers).status_code == 200
    # A link from elsewhere may open the page, which holds no data.
    assert GatewayClient().get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", None])
@pytest.mark.parametrize("path", ["/v1/diagnoses", "/v1/labels", "/v1/completions"])
def test_a_body_that_a_form_can_send_is_refused(path, kind):
    client = GatewayClient()
    headers = {} if kind is None else {"content-type": kind}
    reply = client.send("POST", path, content=b'{"note": "x", "model": "v1"}', headers=headers)
    assert reply.status_code == 415 and "application/json" in reply.text
    assert not client.engine.asked


def test_json_with_a_charset_is_json():
    headers = {"content-type": "application/json; charset=utf-8"}
    reply = GatewayClient().send("POST", "/v1/diagnoses", content=b'{"note": "x"}', headers=headers)
    assert reply.status_code == 200


def test_rollouts_are_given_to_no_one_without_a_token():
    reply = GatewayClient().get("/v1/rollouts")
    assert reply.status_code == 401 and "DEEPICD_TOKEN" in reply.text
