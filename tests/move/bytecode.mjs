// Reads compiled Move modules: what others link against, and where each abort is raised.
// The format is move-binary-format's, version 7
// (https://github.com/MystenLabs/sui/tree/main/external-crates/move/crates/move-binary-format).

const TABLES = {
  modules: 0x1,
  datatypes: 0x2,
  functions: 0x3,
  signatures: 0x5,
  identifiers: 0x7,
  addresses: 0x8,
  structs: 0xa,
  definitions: 0xc,
  enums: 0x11,
};
const ABILITIES = ["copy", "drop", "store", "key"];
const PRIMITIVES = {
  1: "bool",
  2: "u8",
  3: "u64",
  4: "u128",
  5: "address",
  0xc: "signer",
  0xd: "u16",
  0xe: "u32",
  0xf: "u256",
};
const VISIBILITY = { 0: "private", 1: "public", 3: "package" };
const NATIVE = 2;

/** Bytes that follow an instruction's opcode: a number of them, or "uleb", or both. */
const OPERANDS = {
  "": "01 02 08 09 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f 20 21 22 23 24 25 26 27 28 2e 2f 30 33 34 35 4b 4c 4d",
  uleb:
    "03 04 05 07 0a 0b 0c 0d 0e 0f 10 11 12 13 29 2a 2b 2c 2d 36 37 38 39 3a 3b 3c 3d 3e 3f 41 42 " +
    "43 44 45 47 4e 4f 50 51 52 53 54 55 56",
  1: "31",
  2: "48",
  4: "49",
  8: "06",
  16: "32",
  32: "4a",
  "uleb 8": "40 46",
};
const operands = new Map(
  Object.entries(OPERANDS).flatMap(([shape, opcodes]) =>
    opcodes.split(" ").map((opcode) => [parseInt(opcode, 16), shape]),
  ),
);
const LD_U64 = 0x06;
const ABORT = 0x27;

class Reader {
  constructor(bytes, at = 0, end = bytes.length) {
    Object.assign(this, { bytes, at, end });
  }
  get done() {
    return this.at >= this.end;
  }
  u8() {
    if (this.done) throw new Error("a table of the module ends early");
    return this.bytes[this.at++];
  }
  uleb() {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.u8();
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  }
  take(length) {
    if (this.at + length > this.end) throw new Error("a table of the module ends early");
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }
  list(read) {
    return Array.from({ length: this.uleb() }, read);
  }
  /** Everything that is left. */
  all(read) {
    const found = [];
    while (!this.done) found.push(read());
    return found;
  }
}

const abilities = (bits) => ABILITIES.filter((_, bit) => (bits >> bit) & 1);

/** A compiled module. */
class Module {
  #tables = {};

  constructor(bytes) {
    const reader = new Reader(bytes);
    if (reader.take(4).toString("hex") !== "a11ceb0b") throw new Error("this is no Move module");
    const version = reader.take(4).readUInt32LE() & 0xffffff;
    if (version !== 7) throw new Error(`the module's format is version ${version}, not 7`);
    const tables = reader.list(() => [reader.u8(), reader.uleb(), reader.uleb()]);
    const start = reader.at;
    for (const [kind, offset, length] of tables)
      this.#tables[kind] = new Reader(bytes, start + offset, start + offset + length);
    const end = Math.max(...tables.map(([, offset, length]) => start + offset + length));
    const self = new Reader(bytes, end).uleb();
    if (this.#table(TABLES.enums).end > 0) throw new Error("enums are not read here");
    this.#read();
    this.name = this.modules[self].split("::")[1];
  }

  #table(kind) {
    return this.#tables[kind] ?? new Reader(Buffer.alloc(0));
  }

  #read() {
    const of = (name, read) => {
      const reader = this.#table(TABLES[name]);
      return reader.all(() => read(reader));
    };
    const names = of("identifiers", (r) => r.take(r.uleb()).toString("utf8"));
    const addresses = of("addresses", (r) => BigInt(`0x${r.take(32).toString("hex")}`));
    this.modules = of("modules", (r) => {
      const address = addresses[r.uleb()];
      return `0x${address.toString(16)}::${names[r.uleb()]}`;
    });
    this.datatypes = of("datatypes", (r) => ({
      name: `${this.modules[r.uleb()]}::${names[r.uleb()]}`,
      abilities: abilities(r.uleb()),
      type_parameters: r.list(() => ({ abilities: abilities(r.uleb()), phantom: r.u8() === 1 })),
    }));
    const signatures = of("signatures", (r) => r.list(() => this.#type(r)));
    const handles = of("functions", (r) => {
      r.uleb();
      return {
        name: names[r.uleb()],
        parameters: signatures[r.uleb()],
        returns: signatures[r.uleb()],
        type_parameters: r.list(() => abilities(r.uleb())),
      };
    });
    this.structs = of("structs", (r) => {
      const handle = this.datatypes[r.uleb()];
      const native = r.u8() === 1;
      const fields = native ? [] : r.list(() => [names[r.uleb()], this.#type(r)]);
      return { ...handle, name: handle.name.split("::")[2], fields };
    });
    this.functions = of("definitions", (r) => this.#function(r, handles));
  }

  #type(reader) {
    const kind = reader.u8();
    if (kind in PRIMITIVES) return PRIMITIVES[kind];
    switch (kind) {
      case 6:
        return `&${this.#type(reader)}`;
      case 7:
        return `&mut ${this.#type(reader)}`;
      case 8:
        return this.datatypes[reader.uleb()].name;
      case 9:
        return `T${reader.uleb()}`;
      case 0xa:
        return `vector<${this.#type(reader)}>`;
      case 0xb: {
        const { name } = this.datatypes[reader.uleb()];
        return `${name}<${reader.list(() => this.#type(reader)).join(", ")}>`;
      }
      default:
        throw new Error(`unknown type ${kind}`);
    }
  }

  #function(reader, handles) {
    const handle = handles[reader.uleb()];
    const visibility = VISIBILITY[reader.u8()];
    const flags = reader.u8();
    reader.list(() => reader.uleb());
    const aborts = [];
    if (!(flags & NATIVE)) {
      reader.uleb();
      let last = null;
      const length = reader.uleb();
      for (let offset = 0; offset < length; offset++) {
        const opcode = reader.u8();
        const shape = operands.get(opcode);
        if (shape === undefined) throw new Error(`unknown instruction 0x${opcode.toString(16)}`);
        let value = null;
        for (const part of shape.split(" ").filter(Boolean))
          value = part === "uleb" ? reader.uleb() : reader.take(Number(part));
        if (opcode === ABORT && last) aborts.push({ instruction: offset, code: last });
        last = opcode === LD_U64 ? value.readBigUInt64LE() : null;
      }
      reader.list(() => {
        reader.uleb();
        reader.u8();
        reader.list(() => reader.uleb());
      });
    }
    return { ...handle, visibility, aborts };
  }
}

/** Reads modules as the compiler returns them, base64. */
export const read = (modules) =>
  modules
    .map((module) => new Module(Buffer.from(module, "base64")))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
