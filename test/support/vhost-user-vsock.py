"""The host's side of a virtual machine's vSockets, as a process of its own: a vhost-user device for QEMU.

usage: vhost-user-vsock.py SOCKET PATH GUEST_CID

The host's kernel has no part in it. QEMU connects to SOCKET (`-chardev socket,id=c,path=SOCKET -device
vhost-user-vsock-pci,chardev=c`; the guest's memory has to be shared: memory-backend-memfd,share=on). Programs of the
host meet the guest at Unix sockets, which is known as hybrid vsock:

  the guest connects to port P of CID 2        a connection to the Unix socket PATH_P; none there: the guest is reset
  a program connects to PATH, says CONNECT P   a connection to port P of the guest, then "OK HOSTPORT"; refused: a close

"ready" on stdout says that both sockets are there. The process ends with its virtual machine.

Written for tests, from the virtio specification (5.10, Socket Device; 2.7, Split Virtqueues) and QEMU's vhost-user
document: one machine, stream sockets only, and just the requests that QEMU makes of such a device.
"""

import array
import mmap
import os
import select
import socket
import struct
import sys

HOST_CID = 2

# virtio 5.10.6: source and destination CID, source and destination port, length, type, operation, flags, buffer size
# and bytes taken out of it.
HEADER = struct.Struct("<QQIIIHHIII")
STREAM = 1
REQUEST, RESPONSE, RESET, SHUTDOWN, DATA, CREDIT_UPDATE, CREDIT_REQUEST = range(1, 8)
WILL_NOT_RECEIVE, WILL_NOT_SEND = 1, 2

# What we take from the guest before a program of the host has read it, per connection.
BUFFER_BYTES = 256 * 1024

# Virtqueues, from the guest's point of view; the third one (events) has nothing to tell.
RECEIVE, TRANSMIT = 0, 1

# Flags of a descriptor, virtio 2.7.5.
NEXT, WRITABLE = 1, 2

# Requests of vhost-user.
GET_FEATURES, SET_MEM_TABLE, SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE = 1, 5, 8, 9, 10, 11
SET_VRING_KICK, SET_VRING_CALL, GET_PROTOCOL_FEATURES, GET_QUEUE_NUM, GET_CONFIG = 12, 13, 15, 17, 24
VERSION, IS_REPLY = 1, 4

# VIRTIO_F_VERSION_1, VHOST_USER_F_PROTOCOL_FEATURES; VHOST_USER_PROTOCOL_F_MQ and _CONFIG.
FEATURES = 1 << 32 | 1 << 30
PROTOCOL_FEATURES = 1 << 0 | 1 << 9


class Memory:
    """The guest's, mapped into this process."""

    def __init__(self):
        self.regions = []

    def map(self, table, files):
        self.regions = []
        (count,) = struct.unpack_from("<I", table)
        for index in range(count):
            guest, size, user, offset = struct.unpack_from("<QQQQ", table, 8 + 32 * index)
            self.regions.append((guest, user, size, offset, mmap.mmap(files[index], size + offset)))
            os.close(files[index])

    def at_user(self, address):
        """Place of an address as QEMU sees it."""
        for _, user, size, offset, view in self.regions:
            if user <= address < user + size:
                return view, address - user + offset
        raise ValueError(f"no memory at {address:#x}")

    def at_guest(self, address):
        """Place of an address as the guest sees it."""
        for guest, _, size, offset, view in self.regions:
            if guest <= address < guest + size:
                return view, address - guest + offset
        raise ValueError(f"no guest memory at {address:#x}")


def word(place, offset):
    """16 bits in one access: "<H" would be two, and the guest writes at the same time."""
    view, base = place
    return struct.unpack_from("@H", view, base + offset)[0]


class Ring:
    """A split virtqueue, virtio 2.7."""

    def __init__(self, memory):
        self.memory = memory
        self.size = 0
        self.base = 0
        self.descriptors = self.available = self.used = None
        self.kick = self.call = -1

    @property
    def empty(self):
        return self.available is None or self.base == word(self.available, 2)

    def chain(self, index):
        """(view, offset, length, flags) of each buffer in a chain."""
        view, base = self.descriptors
        while True:
            address, length, flags, following = struct.unpack_from("<QIHH", view, base + 16 * index)
            yield (*self.memory.at_guest(address), length, flags)
            if not flags & NEXT:
                return
            index = following

    @property
    def head(self):
        return word(self.available, 4 + 2 * (self.base % self.size))

    def pop(self):
        head = self.head
        self.base = (self.base + 1) & 0xFFFF
        return head, list(self.chain(head))

    def push(self, head, length):
        view, base = self.used
        index = word(self.used, 2)
        struct.pack_into("@II", view, base + 4 + 8 * (index % self.size), head, length)
        struct.pack_into("@H", view, base + 2, (index + 1) & 0xFFFF)

    def notify(self):
        if self.call >= 0:
            os.write(self.call, struct.pack("<Q", 1))


class Connection:
    """One stream between a program of the host and one of the guest."""

    def __init__(self, program, guest_port, host_port):
        self.program = program
        self.guest_port = guest_port
        self.host_port = host_port
        # Of a program that has just connected: what it has said so far. None: said, or never asked.
        self.request = None
        self.established = False
        # From the guest to the program.
        self.pending = bytearray()
        self.forwarded = 0
        self.told = 0
        self.guest_flags = 0
        self.write_ended = False
        # From the program to the guest, and what the guest has said about its room.
        self.sent = 0
        self.peer_buffer = 0
        self.peer_forwarded = 0
        self.read_ended = False
        self.hung_up = False

    @property
    def key(self):
        return self.guest_port, self.host_port

    @property
    def room(self):
        """Bytes that the guest takes now."""
        return self.peer_buffer - ((self.sent - self.peer_forwarded) & 0xFFFFFFFF)

    @property
    def readable(self):
        return self.established and not self.read_ended and self.room > 0


class Device:
    """The vSocket device: what the guest sends is dealt with at once, what is for it waits for its buffers."""

    def __init__(self, poll, path, guest_cid):
        self.poll = poll
        self.path = path
        self.guest_cid = guest_cid
        self.memory = Memory()
        self.rings = [Ring(self.memory) for _ in range(3)]
        self.connections = {}
        # Packets without data, which go before all others.
        self.control = []
        self.next_host_port = 1 << 30
        self.listener = listen(path)
        poll.add(self.listener, select.EPOLLIN, self.accept)

    # Towards the guest

    def packet(self, connection, operation, flags=0, data=b""):
        connection.told = connection.forwarded
        return HEADER.pack(
            HOST_CID,
            self.guest_cid,
            connection.host_port,
            connection.guest_port,
            len(data),
            STREAM,
            operation,
            flags,
            BUFFER_BYTES,
            connection.forwarded & 0xFFFFFFFF,
        ) + data

    def send(self, connection, operation, flags=0):
        self.control.append(self.packet(connection, operation, flags))

    def reset(self, guest_port, host_port):
        packet = HEADER.pack(HOST_CID, self.guest_cid, host_port, guest_port, 0, STREAM, RESET, 0, 0, 0)
        self.control.append(packet)

    def data_room(self):
        """Room for data in the guest's next buffer; before Linux 6.3 the header has one of its own."""
        ring = self.rings[RECEIVE]
        return sum(length for _, _, length, _ in ring.chain(ring.head)) - HEADER.size

    def put(self, packet):
        head, buffers = self.rings[RECEIVE].pop()
        done = 0
        for view, offset, length, _ in buffers:
            piece = packet[done : done + length]
            view[offset : offset + len(piece)] = piece
            done += len(piece)
        self.rings[RECEIVE].push(head, done)

    def deliver(self):
        """Gives the guest what there is for it, as far as its buffers and its credit reach."""
        ring = self.rings[RECEIVE]
        before = ring.base
        while self.control and not ring.empty:
            self.put(self.control.pop(0))
        for connection in list(self.connections.values()):
            while connection.readable and not self.control and not ring.empty:
                if not self.deliver_some(connection):
                    break
            self.watch(connection)
        if ring.base != before:
            ring.notify()

    def deliver_some(self, connection):
        """False when the program has nothing more at the moment."""
        try:
            data = connection.program.recv(min(self.data_room(), connection.room))
        except BlockingIOError:
            return False
        except OSError:
            self.send(connection, RESET)
            self.close(connection)
            return False
        if data:
            connection.sent += len(data)
            self.put(self.packet(connection, DATA, 0, data))
        else:
            connection.read_ended = True
            both = WILL_NOT_RECEIVE | WILL_NOT_SEND
            self.put(self.packet(connection, SHUTDOWN, both if connection.hung_up else WILL_NOT_SEND))
        return True

    # From the guest

    def collect(self):
        """Takes what the guest has sent."""
        ring = self.rings[TRANSMIT]
        before = ring.base
        while not ring.empty:
            head, buffers = ring.pop()
            packet = b"".join(view[at : at + length] for view, at, length, flags in buffers if not flags & WRITABLE)
            ring.push(head, 0)
            self.receive(packet)
        if ring.base != before:
            ring.notify()

    def receive(self, packet):
        _, _, guest_port, host_port, length, _, operation, flags, buffer, forwarded = HEADER.unpack_from(packet)
        connection = self.connections.get((guest_port, host_port))
        if operation == REQUEST:
            connection = self.connect(guest_port, host_port)
        if connection is None:
            if operation not in (REQUEST, RESET):
                self.reset(guest_port, host_port)
            return
        connection.peer_buffer, connection.peer_forwarded = buffer, forwarded
        if operation == RESPONSE:
            self.granted(connection)
        elif operation == DATA:
            connection.pending += packet[HEADER.size : HEADER.size + length]
        elif operation == SHUTDOWN:
            connection.guest_flags |= flags
        elif operation == CREDIT_REQUEST:
            self.send(connection, CREDIT_UPDATE)
        elif operation == RESET:
            connection.guest_flags = WILL_NOT_RECEIVE | WILL_NOT_SEND
            if not connection.pending:
                self.close(connection)
        self.flush(connection)
        self.watch(connection)

    def connect(self, guest_port, host_port):
        """To the program that listens for this port; None when there is none."""
        program = socket.socket(socket.AF_UNIX)
        try:
            program.connect(f"{self.path}_{host_port}")
        except OSError:
            program.close()
            self.reset(guest_port, host_port)
            return None
        connection = Connection(program, guest_port, host_port)
        connection.established = True
        self.take(connection)
        self.connections[connection.key] = connection
        self.send(connection, RESPONSE)
        return connection

    # The program's side

    def accept(self, _):
        program, _ = self.listener.accept()
        connection = Connection(program, 0, self.next_host_port)
        connection.request = b""
        self.next_host_port += 1
        self.take(connection)
        self.watch(connection)

    def take(self, connection):
        connection.program.setblocking(False)
        self.poll.add(connection.program, 0, lambda events: self.happened(connection, events))

    def happened(self, connection, events):
        if connection.request is not None:
            self.asked(connection, events)
            return
        if events & select.EPOLLOUT:
            self.flush(connection)
        if events & (select.EPOLLHUP | select.EPOLLERR) and connection.program.fileno() >= 0:
            # Would be told again and again; what is left to read is read as the guest has room for it.
            connection.hung_up = True
            self.poll.remove(connection.program)
        self.watch(connection)

    def asked(self, connection, events):
        byte = connection.program.recv(1) if events & select.EPOLLIN else b""
        connection.request += byte
        if byte and byte != b"\n":
            return
        words = connection.request.split()
        if not byte or len(words) != 2 or words[0] != b"CONNECT" or not words[1].isdigit():
            self.close(connection)
            return
        connection.request = None
        connection.guest_port = int(words[1])
        self.connections[connection.key] = connection
        self.send(connection, REQUEST)
        self.watch(connection)

    def granted(self, connection):
        connection.established = True
        try:
            # A fresh socket takes a line.
            connection.program.send(b"OK %d\n" % connection.host_port)
        except OSError:
            # It did not wait for the answer.
            self.send(connection, RESET)
            self.close(connection)

    def flush(self, connection):
        """Hands the program what the guest has sent, its end as well."""
        if connection.program.fileno() < 0:
            return
        try:
            while connection.pending:
                count = connection.program.send(connection.pending)
                del connection.pending[:count]
                connection.forwarded += count
        except BlockingIOError:
            pass
        except OSError:
            self.send(connection, RESET)
            self.close(connection)
            return
        if not connection.pending and connection.guest_flags & WILL_NOT_SEND and not connection.write_ended:
            connection.write_ended = True
            try:
                connection.program.shutdown(socket.SHUT_WR)
            except OSError:
                # It is gone already.
                pass
        if not connection.pending and connection.guest_flags == WILL_NOT_RECEIVE | WILL_NOT_SEND:
            self.send(connection, RESET)
            self.close(connection)
        elif connection.forwarded - connection.told > BUFFER_BYTES // 2:
            self.send(connection, CREDIT_UPDATE)

    def watch(self, connection):
        if connection.hung_up or connection.program.fileno() < 0:
            return
        reading = connection.readable or connection.request is not None
        events = (select.EPOLLIN if reading else 0) | (select.EPOLLOUT if connection.pending else 0)
        self.poll.change(connection.program, events)

    def close(self, connection):
        self.connections.pop(connection.key, None)
        if not connection.hung_up:
            self.poll.remove(connection.program)
        connection.program.close()


class Frontend:
    """QEMU, which tells where the rings are and hands over descriptors."""

    def __init__(self, poll, device, path):
        self.poll = poll
        self.device = device
        listener = listen(path)
        print("ready", flush=True)
        self.socket, _ = listener.accept()
        poll.add(self.socket, select.EPOLLIN, self.message)

    def message(self, _):
        header, ancillary, _, _ = self.socket.recvmsg(12, socket.CMSG_SPACE(8 * 4))
        if len(header) < 12:
            sys.exit(0)
        files = array.array("i")
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                files.frombytes(data[: len(data) - len(data) % files.itemsize])
        request, _, size = struct.unpack("<III", header)
        payload = self.socket.recv(size, socket.MSG_WAITALL) if size > 0 else b""
        answer = self.obey(request, payload, files)
        if answer is not None:
            self.socket.sendall(struct.pack("<III", request, VERSION | IS_REPLY, len(answer)) + answer)

    def obey(self, request, payload, files):
        """Bytes of the answer; None for requests that have none."""
        if request == GET_FEATURES:
            return struct.pack("<Q", FEATURES)
        if request == GET_PROTOCOL_FEATURES:
            return struct.pack("<Q", PROTOCOL_FEATURES)
        if request == GET_QUEUE_NUM:
            return struct.pack("<Q", 2)
        if request == GET_CONFIG:
            # The device's only setting is the CID.
            offset, size, _ = struct.unpack_from("<III", payload)
            setting = struct.pack("<Q", self.device.guest_cid)
            return payload[:12] + setting[offset : offset + size].ljust(size, b"\0")
        if request == SET_MEM_TABLE:
            self.device.memory.map(payload, files)
        elif SET_VRING_NUM <= request <= SET_VRING_CALL:
            return self.set_ring(request, payload, files)
        return None

    def set_ring(self, request, payload, files):
        index, value = struct.unpack_from("<II", payload)
        # For descriptors the number of the ring is one byte, the rest are flags.
        ring = self.device.rings[index & 0xFF]
        if request == SET_VRING_NUM:
            ring.size = value
        elif request == SET_VRING_BASE:
            ring.base = value
        elif request == SET_VRING_ADDR:
            _, _, descriptors, used, available, _ = struct.unpack("<IIQQQQ", payload)
            at = self.device.memory.at_user
            ring.descriptors, ring.used, ring.available = at(descriptors), at(used), at(available)
        elif request == SET_VRING_CALL:
            ring.call = files[0] if files else -1
        elif request == SET_VRING_KICK and files:
            ring.kick = files[0]
            self.poll.add(ring.kick, select.EPOLLIN, lambda _: os.read(ring.kick, 8))
        elif request == GET_VRING_BASE:
            ring.available = None
            self.poll.remove(ring.kick)
            return struct.pack("<II", index, ring.base)
        return None


class Poll:
    def __init__(self):
        self.epoll = select.epoll()
        self.handlers = {}

    def add(self, file, events, handler):
        number = file if isinstance(file, int) else file.fileno()
        self.handlers[number] = handler
        self.epoll.register(number, events)

    def change(self, file, events):
        self.epoll.modify(file.fileno(), events)

    def remove(self, file):
        number = file if isinstance(file, int) else file.fileno()
        if self.handlers.pop(number, None) is not None:
            self.epoll.unregister(number)

    def wait(self):
        for number, events in self.epoll.poll():
            handler = self.handlers.get(number)
            # Another one may have closed it a moment ago.
            if handler is not None:
                handler(events)


def listen(path):
    if os.path.exists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    return listener


def main(frontend_path, hybrid_path, guest_cid):
    poll = Poll()
    device = Device(poll, hybrid_path, int(guest_cid))
    Frontend(poll, device, frontend_path)
    while True:
        poll.wait()
        if all(device.rings[index].available is not None for index in (RECEIVE, TRANSMIT)):
            device.collect()
            device.deliver()


if __name__ == "__main__":
    main(*sys.argv[1:])
