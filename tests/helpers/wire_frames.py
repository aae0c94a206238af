"""Frames of the protocol, whole and damaged."""

from hypothesis import strategies as st

from rtflow.server.messages import Arrived, BeginRun, Kept, Piece, Value
from rtflow.server.signatures import Parameter, Signature
from rtflow.server.wire import CHUNK, Ack, Bye, Hello, Ping, Pong, Post, encode

FRAMES = (
    Hello(epoch="ab", about={"version": "1"}, methods={"lights.dim": Signature((Parameter("x", "int"),))}),
    Post(seq=1, body=BeginRun(run_uid="r", tr=1.0)),
    Post(seq=2, body=Value(run_uid="r", volume=1, value=0.5)),
    Post(seq=3, body=Arrived(run_uid="r", key="k", name="n.dcm", received=1.0), sizes=(5,)),
    Post(seq=4, lane=1, body=Piece(id=1, offset=0), sizes=(CHUNK,)),
    Post(seq=5, lane=1, body=Kept(id=1, size=CHUNK)),
    Ack(seq=1),
    Ping(sent=1.5),
    Pong(sent=1.5, received=2.0, answered=2.5),
    Bye(reason="over", final=True),
)


@st.composite
def damaged(draw):
    """A frame with some bytes changed, taken out or put in."""
    data = bytearray(encode(draw(st.sampled_from(FRAMES)), text=(text := draw(st.booleans()))))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return data.decode(errors="replace") if text else bytes(data)
