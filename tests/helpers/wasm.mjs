// Runs programs on MicroPython for WebAssembly, each in a MicroPython of its own. Standard input
// has what to run, see wasm.py; standard output what each printed, as JSON.

import fs from "node:fs";

const work = JSON.parse(fs.readFileSync(0, "utf8"));
const { loadMicroPython } = await import(work.module);
const seen = [];

// What throws in C is called through the table of functions, which no one changes once it is
// there. To look an entry up takes longer than most calls.
const entries = new WeakMap();
const { get } = WebAssembly.Table.prototype;
WebAssembly.Table.prototype.get = function (place) {
    let known = entries.get(this);
    if (!known) {
        entries.set(this, (known = []));
    }
    return (known[place] ??= get.call(this, place));
};

function write(FS, path, data) {
    let above = "";
    for (const part of path.split("/").slice(1, -1)) {
        above += "/" + part;
        if (!FS.analyzePath(above).exists) {
            FS.mkdir(above);
        }
    }
    FS.writeFile(path, data);
}

for (const program of work.programs) {
    const lines = [];
    let error = "";
    if (program.page) {
        (0, eval)(program.page);
    }
    const python = await loadMicroPython({
        heapsize: program.heap,
        url: work.wasm,
        stdout: (line) => lines.push(line),
        stderr: (line) => lines.push(line),
    });
    for (const [path, text] of Object.entries(program.files)) {
        write(python.FS, path, Buffer.from(text, "base64"));
    }
    try {
        python.runPython(program.code);
    } catch (e) {
        error = String(e.message || e);
    }
    seen.push({ out: lines.map((line) => line + "\n").join(""), error });
}

const text = Buffer.from(JSON.stringify(seen) + "\n");
for (let place = 0; place < text.length; ) {
    place += fs.writeSync(1, text, place);
}
// One time in a few hundred node waits at its end for a thread that compiles, for ever.
process.kill(process.pid, "SIGKILL");
