import http.client
import json
import threading
from pathlib import Path

import pytest

from holdfast.app.workspace import Workspace
from holdfast.console.status import collect, make_server, page, serving_figures

METRICS = """\
# HELP holdfast_requests_total Requests by route and status.
# TYPE holdfast_requests_total counter
holdfast_requests_total{route="/v1/models/{name}/predict",status="200"} 100
holdfast_request_seconds_bucket{route="/v1/models/{name}/predict",le="0.001"} 50
holdfast_request_seconds_bucket{route="/v1/models/{name}/predict",le="0.01"} 99
holdfast_request_seconds_bucket{route="/v1/models/{name}/predict",le="+Inf"} 100
holdfast_predictions_total{model="fraud",recommendation="allow",step="champion"} 100
holdfast_marked_total{model="fraud",mark="inexact"} 3
holdfast_staleness_seconds 0.25
holdfast_ready 2
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    text = "import holdfast as hf\n\nproject = hf.Project('<shop>')\n"
    (tmp_path / "project.py").write_text(text)
    Workspace(tmp_path).apply(by="eva")
    return tmp_path


def test_latencies_are_read_from_the_histogram() -> None:
    found = serving_figures(METRICS)

    latencies = found["latency_ms"]["/v1/models/{name}/predict"]
    assert latencies["p50"] == pytest.approx(1.0)
    assert latencies["p99"] == pytest.approx(10.0)
    assert found["answers"] == {"fraud allow (champion)": 100}
    assert (found["staleness_s"], found["ready"]) == (0.25, 2)


def test_page_says_what_does_not_run(folder: Path) -> None:
    text = page(collect(Workspace(folder).wiring, "127.0.0.1", 9))

    assert "does not answer" in text
    assert "does not run" in text


def test_page_escapes_names_and_loads_nothing(folder: Path) -> None:
    text = page(collect(Workspace(folder).wiring, "127.0.0.1", 9))

    assert "&lt;shop&gt;" in text
    assert "<shop>" not in text
    assert "http://" not in text
    assert "https://" not in text


def test_server_answers_page_and_json(folder: Path) -> None:
    server = make_server(Workspace(folder).wiring, "127.0.0.1", 0, 9)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        answers = {}
        for path in ("/", "/status.json", "/livez", "/nothing"):
            connection.request("GET", path)
            response = connection.getresponse()
            answers[path] = response.status, response.read()
        connection.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

    assert {path: status for path, (status, _) in answers.items()} == {
        "/": 200,
        "/status.json": 200,
        "/livez": 200,
        "/nothing": 404,
    }
    assert json.loads(answers["/status.json"][1])["project"] == "<shop>"
