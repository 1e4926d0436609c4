"""The memory of a connection that was answered once and has been idle since."""

import socket


def measure(bench, say):
    stack = bench.stack
    daemon = stack.plistd["us"]
    daemon.stop()
    daemon.start()
    daemon.wait_ready()
    sockets = []
    try:
        def open_some(n):
            for _ in range(n):
                link = socket.create_connection(("127.0.0.1", daemon.port), 5)
                link.sendall(b"GET /us/properties/1 HTTP/1.1\r\nHost: bench\r\n\r\n")
                if not link.recv(4096).startswith(b"HTTP/1.1 200"):
                    raise RuntimeError("a GET was not answered with 200")
                sockets.append(link)
        open_some(50)  # memory that does not depend on the number of connections
        before = daemon.resident_bytes()
        open_some(500)
        each = (daemon.resident_bytes() - before) / 500 / 1024
    finally:
        for link in sockets:
            link.close()
    say(f"  an idle connection: {each:.1f} KiB")
    bench.table("Memory of an idle connection, of 500", ("KiB each",), [(each,)])
