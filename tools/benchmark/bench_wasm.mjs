// Runs a plan on MicroPython for WebAssembly, for bench_wasm.py:
//
//   node bench_wasm.mjs PLAN
//
// PLAN is the path of a JSON file:
//
//   release   the directory with micropython.mjs and micropython.wasm
//   heap      bytes of heap
//   files     {path there: path here}; directories are made
//   steps     [program, ...], run one after the other
//   free      bytes of heap that are left free before the last step, or null for all of them
//   wanted    {path there: path here}, the files that are to be there at the end
//
// The last line that it prints is JSON:
//
//   size      bytes of heap that objects can have: the rest is for the collector's own tables
//   used      bytes that are in use before each step, and at the end
//   grew      whether the heap was too small for a step behind the first
//   error     the text of the exception that ended the last step, or of what is wrong; or null
//
// This build of MicroPython takes more heap from the system where a board would collect garbage,
// and collects between two calls from JavaScript. So that a run can be measured, the programs
// collect by themselves: collector.collect() is a collection within a call. What is in use is
// found as at the end of a call, from the global variables and from the stack of Python frames,
// and not from that of C, which has to be without objects then.

import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const plan = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const script = path.join(plan.release, "micropython.mjs");
const { loadMicroPython } = await import(pathToFileURL(script));
const mp = await loadMicroPython({
    heapsize: plan.heap,
    url: path.join(plan.release, "micropython.wasm"),
    stdout: (line) => console.log(line),
});

// All of WebAssembly's memory, as words. It is another array when it has grown.
const memory = () => new Int32Array(mp._module.HEAPU8.buffer);

// Finds the word in which the build counts how deep calls from JavaScript are in each other: it
// is 0 outside, and one more with each call.
function findDepth() {
    const deepest = 6;
    const shots = [];
    let dive = null;
    const look = () => {
        shots.push(memory().slice());
        if (shots.length <= deepest) {
            dive();
        }
    };
    mp.registerJsModule("nest", { look });
    mp.runPython("def dive():\n import nest\n nest.look()");
    dive = mp.globals.get("dive");
    shots.push(memory().slice());
    dive();
    mp.globals.delete("dive");
    const after = memory();
    const found = [];
    for (let at = 0; at < shots[0].length; at++) {
        if (after[at] === 0 && shots.every((shot, depth) => shot[at] === depth)) {
            found.push(at);
        }
    }
    if (found.length !== 1) {
        throw new Error(`the depth of calls is in ${found.length} places`);
    }
    return found[0];
}

// What gc.mem_free() counts that is not in the heap yet.
const MORE = 128 * 1024 * 1024;

const gc = mp.pyimport("gc");
const [collectAtTheEnd, used, free] = [gc.collect, gc.mem_alloc, gc.mem_free];
collectAtTheEnd();
const size = used() + free() - MORE;
const depth = findDepth();
collectAtTheEnd();

const found = { size, used: [], grew: false, error: null };

// What was taken from the system and is without objects goes back at a collection.
function look() {
    found.grew ||= used() + free() - MORE !== size;
}

function collect() {
    look();
    const words = memory();
    const saved = words[depth];
    words[depth] = 0;
    collectAtTheEnd();
    memory()[depth] = saved;
}

mp.registerJsModule("collector", { collect });

for (const [there, here] of Object.entries(plan.files)) {
    mp.FS.createPath("/", path.posix.dirname(there), true, true);
    mp.FS.writeFile(there, fs.readFileSync(here));
}

for (const [number, program] of plan.steps.entries()) {
    collect();
    found.used.push(used());
    if (plan.free !== null && number === plan.steps.length - 1) {
        mp.pyimport("board").fill(plan.free + MORE);
        if (free() - MORE !== plan.free) {
            throw new Error(`${free() - MORE} bytes are free, not ${plan.free}`);
        }
    }
    if (number === 1) {
        found.grew = false;
    }
    try {
        mp.runPython(`${program}\nimport collector\ncollector.collect()`);
    } catch (error) {
        found.error = error.message;
        break;
    }
}
collect();
found.used.push(used());
for (const [there, here] of Object.entries(plan.wanted)) {
    const content = mp.FS.analyzePath(there).exists && mp.FS.readFile(there);
    if (!content || !fs.readFileSync(here).equals(content)) {
        found.error ??= `${there} is not what it should be`;
    }
}
console.log(JSON.stringify(found));
process.exit(0);
