"""Bytes over a wire. A session asks a `Link`; what lies behind it is the link's own business."""

from collectors.links.link import Counters, Link, LinkDown
from collectors.links.named import link_of
from collectors.links.serial import SerialLink
from collectors.links.tcp import TcpLink

__all__ = ["Counters", "Link", "LinkDown", "SerialLink", "TcpLink", "link_of"]
