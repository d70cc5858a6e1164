"""Runs one program on a pseudo terminal of its own, told what to do over stdin and telling over stdout.

usage: pty.py ROWS COLUMNS PROGRAM [ARGUMENT...]

Commands and events are lines of JSON; bytes travel as hex. The program is the leader of its own session with the
pseudo terminal as its controlling one, so closing the master is what closing a terminal window is.

  {"do": "write", "hex": "..."}   type these bytes
  {"do": "resize", "rows": 40, "columns": 100}
  {"do": "read", "on": false}     stop (or go on) reading the screen: the terminal stalls
  {"do": "signal", "number": 15}  to the program
  {"do": "modes", "tag": 1}       answered by {"is": "modes", "tag": 1, "modes": [...]}
  {"do": "close"}                 close the window

  {"is": "started", "pid": 1234, "modes": [...]}
  {"is": "output", "hex": "..."}
  {"is": "exited", "code": 0} or {"is": "exited", "signal": 15}, once all output was told; with "modes" unless closed
"""

import fcntl
import json
import os
import select
import selectors
import signal
import struct
import sys
import termios


def tell(event):
    data = (json.dumps(event) + "\n").encode()
    while data:
        data = data[os.write(1, data) :]


def modes_of(descriptor):
    """Everything stty shows: flags, speeds and control characters."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, characters = termios.tcgetattr(descriptor)
    shown = [c.hex() if isinstance(c, bytes) else c for c in characters]
    return [iflag, oflag, cflag, lflag, ispeed, ospeed, shown]


def set_size(descriptor, rows, columns):
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Driver:
    def __init__(self, rows, columns, argv):
        self.master, slave = os.openpty()
        set_size(self.master, rows, columns)
        # Kept open, so that the modes can still be read after the program is gone.
        self.slave = slave
        before = modes_of(slave)
        self.selector = selectors.DefaultSelector()
        self.wake, wake_end = os.pipe()
        os.set_blocking(wake_end, False)
        signal.set_wakeup_fd(wake_end)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.pid = os.fork()
        if self.pid == 0:
            self.become(slave, argv)
        self.pending = b""
        self.reading = False
        self.selector.register(0, selectors.EVENT_READ, self.command)
        self.selector.register(self.wake, selectors.EVENT_READ, self.child)
        self.read(True)
        tell({"is": "started", "pid": self.pid, "modes": before})

    def become(self, slave, argv):
        try:
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            for descriptor in (0, 1, 2):
                os.dup2(slave, descriptor)
            os.closerange(3, 256)
            os.execvp(argv[0], argv)
        finally:
            os._exit(127)

    def read(self, on):
        if on == self.reading or self.master is None:
            return
        self.reading = on
        if on:
            self.selector.register(self.master, selectors.EVENT_READ, self.output)
        else:
            self.selector.unregister(self.master)

    def output(self):
        # A pseudo terminal gives at most one page per read: few large events are cheaper than many small ones.
        data = os.read(self.master, 65536)
        while len(data) < 1 << 20 and select.select([self.master], [], [], 0)[0]:
            data += os.read(self.master, 65536)
        tell({"is": "output", "hex": data.hex()})

    def command(self):
        data = os.read(0, 65536)
        if not data:
            self.end()
        self.pending += data
        *lines, self.pending = self.pending.split(b"\n")
        for line in lines:
            self.obey(json.loads(line))

    def obey(self, command):
        what = command["do"]
        if what == "write" and self.master is not None:
            data = bytes.fromhex(command["hex"])
            while data:
                data = data[os.write(self.master, data) :]
        elif what == "resize" and self.master is not None:
            set_size(self.master, command["rows"], command["columns"])
        elif what == "read":
            self.read(command["on"])
        elif what == "signal":
            os.kill(self.pid, command["number"])
        elif what == "modes":
            tell({"is": "modes", "tag": command["tag"], "modes": modes_of(self.slave)})
        elif what == "close" and self.master is not None:
            self.read(False)
            os.close(self.master)
            os.close(self.slave)
            self.master = None

    def child(self):
        os.read(self.wake, 4096)
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            return
        event = {"is": "exited"}
        if os.WIFSIGNALED(status):
            event["signal"] = os.WTERMSIG(status)
        else:
            event["code"] = os.WEXITSTATUS(status)
        if self.master is not None:
            event["modes"] = modes_of(self.slave)
            self.drain()
        self.pid = None
        tell(event)

    def drain(self):
        while select.select([self.master], [], [], 0)[0]:
            self.output()
        self.read(False)

    def end(self):
        """Whoever started us is gone, or has had enough."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os._exit(0)

    def run(self):
        while True:
            for key, _ in self.selector.select():
                key.data()


if __name__ == "__main__":
    Driver(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]).run()
