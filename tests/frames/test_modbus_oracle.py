"""An independent decoder (pymodbus) reads what Nuan writes, and writes what Nuan reads."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.framer import FramerAscii, FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU
from pymodbus.pdu import bit_message as bits
from pymodbus.pdu import register_message as regs
from pymodbus.pdu.exceptionresponse import ExceptionResponse
from pymodbus.pdu.mei_message import (
    ReadDeviceInformationRequest,
    ReadDeviceInformationResponse,
)

from collectors.frames import FrameError, modbus
from collectors.frames import modbus_pdu as pdus

UNITS = st.integers(1, 247)
WORDS = st.integers(0, 0xFFFF)
STARTS = st.integers(0, 60_000)
VALUES = st.lists(WORDS, min_size=1, max_size=120)
FLAGS = st.lists(st.booleans(), min_size=1, max_size=500)
FRAMERS = {"rtu": FramerRTU, "tcp": FramerSocket, "ascii": FramerAscii}


def other_reads(framing, frame, *, is_server):
    framer = FRAMERS[framing](DecodePDU(is_server))
    consumed, pdu = framer.handleFrame(frame, 0, 0)
    assert consumed == len(frame)
    return pdu


def other_writes(framing, pdu, unit, transaction, *, is_server):
    pdu.dev_id, pdu.transaction_id = unit, transaction
    return FRAMERS[framing](DecodePDU(is_server)).buildFrame(pdu)


def written(framing, unit, pdu):
    if framing == "tcp":
        return modbus.encode_tcp(9, unit, pdu)
    return modbus.encode_rtu(unit, pdu) if framing == "rtu" else modbus.encode_ascii(unit, pdu)


FRAMINGS = pytest.mark.parametrize("framing", sorted(FRAMERS))


@FRAMINGS
@settings(max_examples=40, deadline=None)
@given(UNITS, st.sampled_from((3, 4)), VALUES)
def test_both_read_the_same_registers_out_of_an_answer(framing, unit, function, values):
    frame = written(framing, unit, pdus.answer_registers(function, values))
    other = other_reads(framing, frame, is_server=False)
    mine, _ = modbus.decode(frame, framing=framing, side="response")
    assert list(mine.pdu.registers) == other.registers == values
    assert (mine.unit, mine.pdu.function) == (other.dev_id, other.function_code)


@FRAMINGS
@settings(max_examples=40, deadline=None)
@given(UNITS, st.sampled_from((1, 2)), FLAGS)
def test_both_read_the_same_bits_out_of_an_answer(framing, unit, function, flags):
    frame = written(framing, unit, pdus.answer_bits(function, flags))
    other = other_reads(framing, frame, is_server=False)
    mine, _ = modbus.decode(frame, framing=framing, side="response")
    assert pdus.flags_of(mine.pdu.bits, len(flags)) == other.bits[: len(flags)] == flags


# What pymodbus is asked to write, and what Nuan writes for the same.
SAME = st.one_of(
    st.builds(
        lambda kind, a, n: (
            kind(address=a, count=n),
            pdus.request_read(kind.function_code, a, n),
        ),
        st.sampled_from(
            (
                bits.ReadCoilsRequest,
                bits.ReadDiscreteInputsRequest,
                regs.ReadHoldingRegistersRequest,
                regs.ReadInputRegistersRequest,
            )
        ),
        STARTS,
        st.integers(1, 125),
    ),
    st.builds(
        lambda a, on: (
            bits.WriteSingleCoilRequest(address=a, bits=[on]),
            pdus.request_write_coil(a, on),
        ),
        STARTS,
        st.booleans(),
    ),
    st.builds(
        lambda a, v: (
            regs.WriteSingleRegisterRequest(address=a, registers=[v]),
            pdus.request_write_register(a, v),
        ),
        STARTS,
        WORDS,
    ),
    st.builds(
        lambda a, v: (
            regs.WriteMultipleRegistersRequest(address=a, registers=v),
            pdus.request_write_registers(a, v),
        ),
        STARTS,
        VALUES,
    ),
    st.builds(
        lambda a, f: (
            bits.WriteMultipleCoilsRequest(address=a, bits=f),
            pdus.request_write_coils(a, f),
        ),
        STARTS,
        FLAGS,
    ),
    st.builds(
        lambda a, x, y: (
            regs.MaskWriteRegisterRequest(address=a, and_mask=x, or_mask=y),
            pdus.request_mask_write(a, x, y),
        ),
        STARTS,
        WORDS,
        WORDS,
    ),
    st.builds(
        lambda a, n, b, v: (
            regs.ReadWriteMultipleRegistersRequest(
                read_address=a, read_count=n, write_address=b, write_registers=v
            ),
            pdus.request_read_write(a, n, b, v),
        ),
        STARTS,
        st.integers(1, 125),
        STARTS,
        VALUES,
    ),
    st.builds(
        lambda code, first: (
            ReadDeviceInformationRequest(read_code=code, object_id=first),
            pdus.request_device_id(code, first),
        ),
        st.integers(1, 4),
        st.integers(0, 6),
    ),
)


@FRAMINGS
@settings(max_examples=120, deadline=None)
@given(UNITS, SAME)
def test_both_write_the_same_request(framing, unit, same):
    theirs, mine = same
    assert other_writes(framing, theirs, unit, 9, is_server=False) == written(framing, unit, mine)


@FRAMINGS
@settings(max_examples=30, deadline=None)
@given(UNITS, st.sampled_from((1, 3, 16)), st.sampled_from(sorted(pdus.EXCEPTIONS)))
def test_both_write_and_read_the_same_refusal(framing, unit, function, code):
    frame = written(framing, unit, pdus.answer_exception(function, code))
    theirs = other_writes(framing, ExceptionResponse(function, code), unit, 9, is_server=True)
    assert frame == theirs
    other = other_reads(framing, frame, is_server=False)
    assert (other.function_code & 0x7F, other.exception_code) == (function, code)


@settings(max_examples=40, deadline=None)
@given(UNITS, st.dictionaries(st.integers(0, 6), st.binary(min_size=1, max_size=20), max_size=6))
def test_nuan_reads_the_identification_pymodbus_writes(unit, objects):
    answer = ReadDeviceInformationResponse(read_code=1, information=objects)
    frame = other_writes("rtu", answer, unit, 0, is_server=True)
    mine, consumed = modbus.decode_rtu(frame, side="response")
    assert (dict(mine.pdu.objects), consumed) == (objects, len(frame))


def test_where_pymodbus_loses_the_buffer_nuan_does_not():
    answer = modbus.encode_rtu(1, pdus.answer_registers(3, (1, 2)))
    noisy = b"\x55" + answer[:6] + b"\x00" + answer[6:] + answer
    consumed, pdu = FramerRTU(DecodePDU(False)).handleFrame(noisy, 1, 0)
    assert (consumed, pdu) == (len(noisy), None)
    found, data = [], noisy
    while data:
        try:
            message, consumed = modbus.decode_rtu(data, side="response", unit=1)
        except FrameError as error:
            data = data[error.consumed :]
            continue
        if message is None:
            break
        found.append(message.raw)
        data = data[consumed:]
    assert found == [answer]
