"""Bodies and messages that ask for as much work as they can: refused in few words."""

from collections.abc import Iterator

import grpc
import httpx
import pytest

from hostile_bodies import BODIES, MESSAGES
from servers import Server
from soaking import assert_no_harm

MOST_ANSWER_BYTES = 4096
METHOD = "/distilpose.v1.PoseService/EstimatePose"


@pytest.fixture(scope="module", autouse=True)
def _unharmed(server: Server) -> Iterator[None]:
    """The server, which nothing here may harm."""
    begins = server.log.stat().st_size
    yield
    assert_no_harm(server, since_byte=begins)


@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_body_is_refused_in_few_words(client: httpx.Client, name: str) -> None:
    body = BODIES[name]()
    headers = {"content-type": body.media_type}
    response = client.post("/v1/pose", content=body.content, headers=headers)
    assert response.status_code == body.status, response.text[:MOST_ANSWER_BYTES]
    assert response.headers["content-type"] == "application/problem+json"
    assert len(response.content) < MOST_ANSWER_BYTES


@pytest.mark.parametrize("name", MESSAGES)
def test_a_hostile_message_is_refused_in_few_words(server: Server, name: str) -> None:
    message = MESSAGES[name]()
    with (
        grpc.insecure_channel(server.grpc_target) as channel,
        pytest.raises(grpc.RpcError) as refusal,
    ):
        channel.unary_unary(METHOD, bytes, bytes)(message, timeout=60)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT, refusal.value
    assert len(refusal.value.details() or "") < MOST_ANSWER_BYTES


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("n" * 30_000, 422),
        ("boxes=" + "[" * 30_000, 413),
        ("boxes=[[" + "[1]," * 5_000 + "[1]]]", 413),
        ("a&" * 15_000, 400),
        ("&" * 30_000, 400),
        ("flip_test=" + "x" * 30_000, 422),
    ],
)
def test_a_hostile_query_is_refused_in_few_words(
    client: httpx.Client, query: str, status: int
) -> None:
    response = client.post(f"/v1/pose?{query}", content=b"A", headers={"content-type": "image/png"})
    assert response.status_code == status, response.text[:MOST_ANSWER_BYTES]
    assert len(response.content) < MOST_ANSWER_BYTES


def test_options_in_the_query_of_another_body_are_repeated_cut(client: httpx.Client) -> None:
    query = "&".join(letter * 900 for letter in "abcdefghijklm")
    response = client.post(f"/v1/pose?{query}", json={"images": [{"content": "AAAA"}]})
    assert response.status_code == 400
    assert len(response.content) < MOST_ANSWER_BYTES


def test_a_long_list_of_accepted_types_is_read_no_further_than_it_may_matter(
    client: httpx.Client,
) -> None:
    headers = {"accept": "text/html," * 3000, "content-type": "application/json"}
    response = client.post("/v1/pose", content=b"{}", headers=headers)
    assert response.status_code == 400
