# ruff: noqa: F821  (what is not defined here is of mip/__init__.py)
#
# What `without="all"` freezes: a mip that only installs, in a third of the bytes.
#
# It takes what mip takes, installs it all or nothing, verified and recorded, and leaves files that
# mip reads. Besides what has a switch it does without constant RAM (a package.json is in RAM as a
# whole), time in proportion to the files, two connections, limits for slow servers, and pins of
# what other recorded packages need. The order on the disk is that of mip's store, and so are the
# lines of the plan and the record.
#
# manifest.py puts the constants and the functions of mip/__init__.py that are used here in front.


def _piece(stream, buf):
    """Reads what there is of a stream into `buf`: how many bytes; 0 is the end."""
    if idle:
        idle()
    n = getattr(stream, "raw", stream).readinto(buf)
    if n is None:
        raise OSError(_ETIMEDOUT)
    return n


class Session:
    """Fetches URLs over one kept connection, with the interface of `requests`.

    headers: {host: {name: value}}, each sent to that host alone, and over TLS alone. cafile: a
    file of certificates that have to vouch for every TLS server; left out, it is mip.cafile, and
    if that is None, no server is checked. timeout: seconds without a byte from the server.
    """

    def __init__(self, headers=None, cafile=None, timeout=_TIMEOUT):
        self.headers = headers or {}
        self.cafile = cafile or globals()["cafile"]
        self.timeout = timeout
        self.place = self.stream = self.context = self.left = None
        self.raw = self

    def get(self, url):
        """Returns the answer for `url`, redirects followed; to be closed before the next get().

        OSError: the network failed. ValueError: what answers there is not to be trusted.
        """
        for _ in range(_HOPS + 1):
            place, path = _split(url)
            kept = self.left == 0 and place == self.place
            try:
                self._ask(kept, place, path)
            except OSError:
                if not kept:  # else it may just be that the server did not keep it
                    raise
                self._ask(False, place, path)
            if self.status_code not in _REDIRECTS:
                return self
            self.close()
            url = _join(url, self.location)
            if place[:6] == "https:" != url[:6].lower():
                break
        raise ValueError("redirected too often or to http")

    def _ask(self, kept, place, path):
        if not kept:
            self._connect(place)
        self.chunked = self.location = False
        self.left = None  # bytes left of the body or the chunk; None: until the connection ends
        _write(self.stream, ("GET %s%s\r\n" % (path, self.head)).encode())
        self.status_code = int(self._line().split()[1])
        for _ in range(_PACKAGES):
            line = self._line()
            if not line:
                break
            name, value = line.split(b":", 1)
            name = name.lower()
            value = value.strip()
            if name == b"location":
                self.location = value.decode()
            elif name == b"content-length":
                self.left = int(value)
            elif name == b"transfer-encoding":
                self.chunked = True
        else:
            raise OSError(_ECONNRESET)
        if self.chunked:
            self.left = 0

    def _connect(self, place):
        import socket

        self.drop()
        scheme, _, host = place.split("/")
        name, port = (host + (":443" if scheme == "https:" else ":80")).split(":")[:2]
        self.place = place
        self.head = " HTTP/1.1\r\nHost: %s\r\n" % host
        gc.collect()  # TLS needs 3 KB in one piece
        address = socket.getaddrinfo(name, int(port))[0]
        self.stream = sock = socket.socket(address[0])
        sock.settimeout(self.timeout)
        sock.connect(address[-1])
        if scheme == "https:":
            self.context = self.context or _context(self.cafile)
            self.stream = self.context.wrap_socket(sock, server_hostname=name)
            for header in self.headers.get(name, {}).items():
                self.head += "%s: %s\r\n" % header

    def _line(self):
        line = self.stream.readline()
        if not line or line[-1] != 10:
            raise OSError(_ECONNRESET)
        return line.strip()

    def readinto(self, buf):
        """Reads what there is of the body into `buf`, returns how many bytes; 0 is the end."""
        if self.chunked and not self.left:
            self.left = int(self._line().split(b";")[0], 16)
            while not self.left and self.chunked:
                self.chunked = self._line()
        if self.left is None:
            return self.stream.readinto(buf)
        n = min(len(buf), self.left)
        if n:
            n = self.stream.readinto(buf, n)
            if not n:
                raise OSError(_ECONNRESET)
            self.left -= n
            if self.chunked and not self.left:
                self._line()
        return n

    def close(self):
        """Ends this answer. The connection is kept if all of it was read."""
        if self.left != 0 or self.chunked:
            self.drop()

    def drop(self):
        """Closes the connection."""
        if self.stream:
            self.stream.close()
            self.stream = self.left = None


class _Run:
    """One call, for one target.

    The plan is that of mip's store, where "planned" has what "package" of the record is to have.
    """

    def __init__(self, target):
        if not target:
            for target in sys.path:
                if target.endswith("/lib") and not target.startswith("/rom/"):
                    break
            else:
                raise InstallError("no /lib: say target=")
        self.target = target = target.rstrip("/") + "/"
        self.meta = self.doing = target + ".mip/"
        self.buf = bytearray(_BUFFER)
        self.fold = False
        self.recovering = True
        self.files = []  # what is to be closed
        self.packages = []  # those of this run: [key, name, asked]
        self.pins = {}  # {key: (version, hash of the document)}, each None if it is free
        self.asked = {}  # what the user asked for, in the record: {key: asked}

    def do(self, wanted, version):
        """Finishes what was interrupted, and installs what is wanted, a list of names.

        Returns whether a file was changed. Raises InstallError.
        """
        if _busy:
            raise InstallError("mip is at work")
        _busy.append(self)
        try:
            try:
                self.finish()
                changed = wanted and self.install(wanted, version)
            finally:
                self.finish()
            if wanted:
                print("Done")
            return changed
        except Exception as e:
            raise InstallError("%s: %s %s" % (_escaped(self.doing), type(e).__name__, e))
        finally:
            _busy.clear()
            self.close()

    def close(self):
        while self.files:
            try:
                self.files.pop().close()
            except OSError:
                continue  # of what is only read nothing can be lost

    def lines(self, name="plan", first=_PLAN):
        # Yields the lines of a file of .mip/; none where there is none.
        path = self.meta + name
        if _type(path):
            file = open(path, "rb")
            self.files.append(file)
            if file.readline() != first:
                raise ValueError(path + " damaged")
            for line in file:
                if line != _END:
                    yield json.loads(line)

    def put(self, *values):
        line = _line(*values)
        if len(line) > _LINE_SIZE or line.count(b"[") > _NESTED:  # nobody would read it
            raise ValueError("too long")
        _write(self.out, line)

    def install(self, wanted, version):
        # Returns whether a file was changed.
        _make(self.meta)
        self.fold = _type(self.target + ".MIP") > 0
        self.recovering = False
        # While it is there, nothing is committed; then there is room for what is renamed.
        with open(self.meta + "room", "wb") as file:
            for _ in range(16):
                _write(file, self.buf)
        self.resolve(wanted, version)
        self.stage()
        os.remove(self.meta + "room")
        return self.reconcile()

    # ---- resolving

    def resolve(self, wanted, version):
        for kind, name, *rest in self.lines("record", _FORMAT):
            if kind == "package":
                self.asked[_key(name)] = rest[1]
        with open(self.meta + "plan", "wb") as self.out:
            _write(self.out, _PLAN)
            for text in wanted:
                name, ref = _parse(text, version)
                self.need(_located(name, None), ref, ref or _LATEST)
            for package in self.packages:
                self.package(*package)
            _write(self.out, _END)

    def need(self, name, version, asked=None):
        # Takes note of what is needed. asked: the version that the user asks for, None for a
        # dependency.
        key = _key(name)
        name = _shown(name)
        if key not in self.pins:
            self.pins[key] = None, None
            recorded = self.asked.get(key)
            if len(self.packages) == _PACKAGES:
                raise ValueError("too long")
            self.packages.append([key, name, asked or recorded])
            if not asked:
                self.need(name, recorded)
        ref, sha = _unpin(version)
        ref = _pinned(ref)
        pin, digits = self.pins[key]
        self.pins[key] = pin or ref, digits or sha
        if self.pins[key] != (ref or pin, sha or digits):
            raise ValueError(name + " is asked for in two versions")

    def package(self, key, name, asked):
        # Writes the lines of a package, from the first place that has it.
        version, sha = self.pins[key]
        if _twin(name):
            self.pins[key] = version or _LATEST, sha or _LATEST  # no other can be had any more
            self.put("planned", name, version, asked, None)
            self.file(name[name.rfind("/") + 1 :], sha, _url(name, version))
            return
        if _is_place(name):
            url = name if name.endswith(".json") else name + _JSON
            if self.read(url, key, name, asked):
                return
        else:
            for index in self.index:
                index = index.rstrip("/")
                for form in self.form or (str(_mpy & 255), "py"):
                    url = "%s/package/%s/%s/%s.json" % (index, form, name, version or _LATEST)
                    if self.read(url, key, name, asked, index):
                        return
        raise ValueError("not found")

    def open(self, url):
        # The stream of a URL or a path, or None when nothing is there.
        self.doing = _shown(url)
        if ":" not in url:
            return open(url, "rb") if _type(url) else None
        answer = self.session.get(url)
        code = answer.status_code
        if code == 200:
            return answer
        answer.close()
        if code != 404:
            raise ValueError("HTTP %d" % code)

    def read(self, found, key, name, asked, index=None):
        # Writes the lines of a package, if its package.json, `found`, is there.
        ref, sha = self.pins[key]
        stream = self.open(_url(found, ref))
        if not stream:
            return False
        print("Installing %s (%s) to %s" % (name, ref or _LATEST, self.target))
        document = b""
        n = 1
        try:
            while n:
                n = _piece(stream, self.buf)
                document += self.buf[:n]
        finally:
            stream.close()
        digits = _hex(sha256(document))
        if sha not in (None, digits):
            raise ValueError(_OTHER)
        document = json.loads(document)
        if document.get("v", 1) != 1:
            raise ValueError("a newer mip is needed")
        version = ref
        if document.get("version") and not _repository(name):
            version = str(document["version"])
        self.pins[key] = ref or version or _LATEST, digits
        self.put("planned", name, version, asked, index, *(index and self.form or ()))
        for path, sha, *tag in document.get("hashes", ()):
            url = "/".join((index or self.index[0], "file", sha[:2], sha))
            self.file(path, sha.lower(), url, *tag)
        for path, url, *tag in document.get("urls", ()):
            url, sha = _unpin(url)
            self.file(path, sha, _source(found, ref, url), *tag)
        for dep in document.get("deps", ()):
            name, *version = [dep] if isinstance(dep, str) else dep
            name, own = _parse(name, *version)
            name = _located(name, found)
            if not version and not own and _same(name, found):
                own = ref
            self.put("dep", _shown(name), own)
            if self.deps:
                self.need(name, own)
        return True

    def file(self, path, sha, url, tag=None):
        # Writes the line of a file, unless it is for other firmware, and then that of its
        # directory and of the one above that is there.
        if tag not in (None, _mpy & 255):
            return
        path = _clean(path)
        self.put("get", path, sha, url)
        there = above = _above(path)
        while there and not _type(self.target + there):
            there = _above(there)
        if above != there:
            self.put("dir", above, there)

    # ---- staging

    def staged(self, path):
        # Where a file is staged. On FAT half of a sector can be all of a rename in a directory.
        return self.meta + _short(path.lower()) if self.fold else self.target + path + "~mip"

    def stage(self):
        # Fetches what is not in place, and writes the coming record.
        stays = False
        with open(self.meta + "new", "wb") as self.out:
            _write(self.out, _FORMAT)
            # Of packages that share a path the later one has it, which is one of this run.
            for kind, name, *rest in self.lines("record", _FORMAT):
                if kind == "package":
                    stays = _key(name) not in self.pins
                if stays:
                    self.put(kind, name, *rest)
            for kind, name, *rest in self.lines():
                if kind == "get":
                    self.put("file", name, self.fetch(name, *rest))
                elif kind == "planned":
                    self.put("package", name, *rest)
                elif kind == "dep":
                    self.put(kind, name, *rest)

    def fetch(self, path, wanted, url):
        # Stages a file that is not in place; returns its sha256.
        place = self.target + path
        staged = self.staged(path)
        here = self.sha(place)
        bad = here == ""
        above = _above(path)
        while above:
            bad = bad or _type(self.staged(above))
            above = _above(above)
        if bad:
            self.doing = place
            raise ValueError("a file and a directory at once")
        early = self.sha(staged)  # what an earlier package of this run has there
        for sha in early, here:
            if sha and wanted and sha.startswith(wanted):
                print("Exists:", place)
                if sha == here:
                    _remove(staged)
                return sha
        print("Copying:", place)
        stream = self.open(url)
        if not stream:
            raise ValueError("not found")
        try:
            _make(place)
            with open(staged, "wb") as file:
                sha = _copy(stream, file, self.buf)
        finally:
            stream.close()
        if not sha.startswith(wanted or ""):
            raise ValueError(_OTHER)
        if sha == here:
            os.remove(staged)
        return sha

    # ---- commit, reconcile, recovery

    sha = _Store.sha
    present = _Store.present
    move = _Store.move

    def reconcile(self):
        # Makes the disk agree with the coming record. Returns whether a file was changed.
        changed = goes = False
        for kind, name, *_ in self.lines():
            if kind == "get":
                staged = self.present(self.staged(name))
                if staged:
                    changed = True
                    _make(self.target + name)
                    self.move(staged, self.target + name)
        new = self.present(self.meta + "new")
        for kind, name, *_ in self.lines("record", _FORMAT):
            if kind == "package":
                goes = self.recovering or _key(name) in self.pins
            elif kind == "file" and goes:
                # On FAT the coming record may have it in another letter case.
                head = _line(kind, name)[:-2].lower()
                with open(new, "rb") as file:
                    for line in file:
                        if line.lower().startswith(head):
                            break
                    else:
                        _remove(self.target + name)
                        _prune(self.target + name, self.target)
                        changed = True
        self.close()
        self.move(new, self.meta + "record")
        return changed

    def finish(self):
        # Finishes what is committed, and removes all but the record.
        self.close()
        if not _type(self.meta[:-1]):
            return
        names = os.listdir(self.meta[:-1])  # FAT takes no slash at the end
        if names == ["record"]:
            return
        if self.recovering:
            if "next" in names or ".rm" in "".join(names):
                raise ValueError(_WITHOUT + "uninstall")
            self.fold = _type(self.target + ".MIP") > 0
            # Before it writes, littlefs mends a rename that was interrupted.
            try:
                with open(self.meta + "none", "wb") as file:
                    file.write(b"1")
            except OSError as e:
                if e.args[0] not in _FULL:
                    raise
            _remove(self.meta + "none")
        planned = False  # else nothing of the plan was done
        if "plan" in names:
            with open(self.meta + "plan", "rb") as file:
                file.seek(max(file.seek(0, 2) - len(_END), 0))
                planned = file.read() == _END
        if planned and "room" not in names and self.present(self.meta + "new"):
            self.reconcile()
        for _ in range(2 * planned):  # a directory may come before its file
            for kind, path, *rest in self.lines():
                if kind == "get":
                    _remove(self.staged(path))
                    _remove(self.target + path + "~mip")  # mip's, in the root of FAT
                elif kind == "dir":
                    _prune(self.target + path + "/", self.target + rest[0])
        self.close()
        _remove(self.meta + "new")
        for name in names:
            if name not in ("record", "room"):
                _remove(self.meta + name)
        _remove(self.meta + "room")  # without it what is there would be committed
        _prune(self.meta, self.target[:-1])  # if there is no record


_busy = []


def install(package, index=None, target=None, version=None, mpy=True, session=None, deps=True):
    """Installs a package, or a list of packages as one transaction, with all that it needs.

    Takes and returns what mip's install() does. Raises InstallError.
    """
    run = _Run(target)
    run.index = index if isinstance(index, (tuple, list)) else (index or _INDEX,)
    run.form = () if mpy and _mpy else ("py",)
    run.session = session or Session()
    run.deps = deps
    try:
        return run.do(package if isinstance(package, (tuple, list)) else (package,), version)
    finally:
        if not session:
            run.session.drop()


def recover(target=None):
    """Finishes an interrupted commit, or clears up after an interrupted run."""
    _Run(target).do((), None)
