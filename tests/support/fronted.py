"""A daemon and NGINX beside a stack, with a configuration and certificates of a test module."""

import shutil


class Fronted:
    """A subclass makes `folder`, `daemon` and `nginx`."""

    def running(self, stack):
        """Both servers while the generator is suspended; for a fixture, by `yield from`. The daemon uses the stack's database,
        and no broker."""
        try:
            with stack.hosting(self.daemon, has_broker=False):
                self.daemon.start()
                self.nginx.start()
                yield self
        finally:
            for server in (self.nginx, self.daemon):
                if server.running:
                    server.kill()
            shutil.rmtree(self.folder, ignore_errors=True)
