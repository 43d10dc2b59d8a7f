"""Facts of one node → checks of how it is reached: interface, proxy, token, ports, watchdog, clock.

In: `NodeFacts`, and the addresses of all nodes. Out: checks. Decided here: what torch's Gloo and
NCCL read of the environment is read as they do, from their own documentation.
"""

import ipaddress
from collections.abc import Iterator, Sequence

from deepicd.doctor.facts import Check, NodeFacts

_GLOO, _NCCL = "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"
_LOCAL = ("localhost", "127.0.0.1")
_MAX_SKEW_S = 1.0
"""Runs are ordered, and answers joined with late labels, by clocks of several nodes."""


def check_network(facts: NodeFacts, addresses: Sequence[str]) -> Iterator[Check]:
    """Every check of this file.

    Args:
        facts: of one node.
        addresses: of all nodes of the cluster, this one too.
    """
    yield _check_gloo(facts, is_alone=len(addresses) < 2)
    yield _check_nccl(facts)
    yield _check_watchdog(facts)
    yield _check_proxy(facts, [*_LOCAL, *addresses])
    yield _check_token(facts)
    if facts.network.ports:
        yield _check_ports(facts)
    if facts.clock_s is not None:
        yield _check_clock(facts, facts.clock_s)


def _check_gloo(facts: NodeFacts, *, is_alone: bool) -> Check:
    """Gloo takes one name, and without it the address of the host's name (verl 967)."""
    network, name = facts.network, facts.environment.get(_GLOO, "")
    is_there = name in network.interfaces
    value = f"{_GLOO}={name}" if name else f"host name is {network.own_address or 'unresolved'}"
    if not name:
        ok = is_alone or _is_of(facts, network.route)
    else:
        # Alone, loopback leads to all ranks.
        ok = is_there and (is_alone or not network.route or name == network.route)
    return Check(
        "gloo interface",
        facts.node,
        f"{value}; has {', '.join(sorted(network.interfaces))}",
        f"one name, of the route to the other nodes: {network.route or 'none known'}",
        ok=ok,
        advice=f"export {_GLOO}={network.route or 'NAME'} (one name, no list) on that node before "
        "Ray starts there",
        is_vital=bool(name) and not is_there,
    )


def _is_of(facts: NodeFacts, interface: str) -> bool:
    """Whether the host's name resolves to an address of that interface."""
    addresses = facts.network.interfaces.get(interface, ())
    return not interface or facts.network.own_address in addresses


def _check_nccl(facts: NodeFacts) -> Check:
    network, names = facts.network, facts.environment.get(_NCCL, "")
    found = [each for each in network.interfaces if nccl_takes(names, each)]
    ok = not names or (network.route in found if network.route else bool(found))
    return Check(
        "nccl interface",
        facts.node,
        f"{_NCCL}={names}" if names else "not set: NCCL chooses",
        f"a list that takes the route to the other nodes: {network.route or 'none known'}",
        ok=ok or not facts.gpus,
        advice=f"unset {_NCCL}, or give it {network.route or 'NAME'} or '^lo,docker,veth'",
    )


def nccl_takes(names: str, interface: str) -> bool:
    """Whether NCCL uses an interface, by its own rules: a list of beginnings, with `^` of those
    that it leaves out, with `=` of whole names.
    """
    if not names:
        return True
    is_negated, rest = names.startswith("^"), names.removeprefix("^")
    is_exact = rest.startswith("=")
    listed = [name for name in rest.removeprefix("=").split(",") if name]
    is_listed = any(
        interface == name if is_exact else interface.startswith(name) for name in listed
    )
    return is_listed != is_negated


def _check_watchdog(facts: NodeFacts) -> Check:
    """A hang of NCCL is ended with stacks by torch's watchdog, not by a longer time-out (verl 3873,
    2995).
    """
    names = ("TORCH_NCCL_ASYNC_ERROR_HANDLING", "TORCH_NCCL_ENABLE_MONITORING")
    off = [name for name in names if facts.environment.get(name) in {"0", "false"}]
    return Check(
        "nccl watchdog",
        facts.node,
        f"switched off by {', '.join(off)}" if off else "on, as torch has it",
        "on",
        ok=not off,
        advice=f"unset {' and '.join(off)}: without the watchdog a hung collective waits for ever "
        "and leaves no stack",
    )


def _check_proxy(facts: NodeFacts, hosts: Sequence[str]) -> Check:
    """A proxy does not know the cluster's own addresses: `ray job submit` hangs (ray 52454)."""
    environment = facts.environment
    proxy = environment.get("http_proxy") or environment.get("HTTP_PROXY") or ""
    spared = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    through = [host for host in dict.fromkeys(hosts) if not is_spared(spared, host)]
    return Check(
        "proxy",
        facts.node,
        f"http_proxy={proxy}, no_proxy={spared or 'not set'}" if proxy else "none",
        "no_proxy names this machine and every node",
        ok=not proxy or not through,
        advice=f"export no_proxy={','.join(filter(None, [spared, *through]))}",
    )


def is_spared(no_proxy: str, host: str) -> bool:
    """Whether `no_proxy` keeps a host from the proxy: by name, by the end of a name, by network."""
    entries = [entry.strip().lower() for entry in no_proxy.split(",") if entry.strip()]
    return any(_spares(entry, host.lower()) for entry in entries)


def _spares(entry: str, host: str) -> bool:
    if entry in {"*", host} or host.endswith(f".{entry.lstrip('.')}"):
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False


def _check_token(facts: NodeFacts) -> Check:
    token = facts.token
    if token.path:
        value = f"{token.path}: {token.fault or 'private'}"
    elif facts.ray is None:
        value = "a new one for each run, in its folder"
    else:
        value = "asked for" if token.is_asked else "none: whoever reaches Ray runs code as you"
    is_missing = bool(token.path) and token.fault in {"no such file", "the file is empty"}
    return Check(
        "token",
        facts.node,
        value,
        "Ray asks for a token, in a file that its owner alone can read (mode 600)",
        ok=token.is_asked and not token.fault,
        advice="(umask 077; openssl rand -hex 32 > FILE), the same file on every node, and start "
        "Ray with RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=FILE",
        is_vital=is_missing,
    )


def _check_ports(facts: NodeFacts) -> Check:
    ports = facts.network.ports
    closed = [f"{name}: {fault}" for name, fault in ports.items() if fault]
    return Check(
        "ports",
        facts.node,
        "; ".join(closed) or f"open: {', '.join(ports)}",
        "every node reaches Ray on every other one; the endpoint's port is free",
        ok=not closed,
        advice="open TCP between all nodes (firewall, security group, NetworkPolicy), Ray's ports "
        "and those above 10000 for its workers, Gloo and NCCL; of the endpoint set serving.port",
    )


def _check_clock(facts: NodeFacts, ahead_s: float) -> Check:
    sure = max(0.0, abs(ahead_s) - facts.clock_error_s)
    return Check(
        "clock",
        facts.node,
        f"{ahead_s:+.3f} s, give or take {facts.clock_error_s:.3f} s",
        f"within {_MAX_SKEW_S:g} s of the machine that asks",
        ok=sure <= _MAX_SKEW_S,
        advice="let a time service run there (`timedatectl set-ntp true`, chrony)",
    )
