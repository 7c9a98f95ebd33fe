// BCS, as far as the goldens need it (https://github.com/diem/bcs): integers little-endian, ids and
// addresses as 32 raw bytes, text and vectors after their ULEB128 length, an option as a vector of
// none or one, structs field by field.

const uleb = (length) => {
  const bytes = [];
  for (; length > 127; length >>>= 7) bytes.push((length & 127) | 128);
  return Buffer.from([...bytes, length]);
};

const integer = (size) => (value) => {
  const bytes = Buffer.alloc(size);
  let rest = BigInt(value);
  for (let index = 0; index < size; index++, rest >>= 8n) bytes[index] = Number(rest & 255n);
  if (rest !== 0n) throw new Error(`${value} does not fit ${size} bytes`);
  return bytes;
};

const hex = (value) => {
  if (!/^0x([0-9a-f]{2})*$/.test(value)) throw new Error(`${value} is not hexadecimal`);
  return Buffer.from(value.slice(2), "hex");
};

/** A type is a function from a JSON value to its bytes. */
export const types = {
  u8: integer(1),
  u16: integer(2),
  u32: integer(4),
  u64: integer(8),
  bool: (value) => Buffer.from([value ? 1 : 0]),
  id: (value) => {
    const bytes = hex(value);
    if (bytes.length !== 32) throw new Error(`${value} is not 32 bytes`);
    return bytes;
  },
  bytes: (value) => Buffer.concat([uleb(hex(value).length), hex(value)]),
  string: (value) => {
    const bytes = Buffer.from(value, "utf8");
    return Buffer.concat([uleb(bytes.length), bytes]);
  },
};

export const vector = (type) => (values) =>
  Buffer.concat([uleb(values.length), ...values.map((value) => type(value))]);

export const option = (type) => (value) => vector(type)(value === null ? [] : [value]);

export const struct = (fields) => (value) => {
  const names = Object.keys(fields);
  const given = Object.keys(value);
  if (names.join() !== given.join()) throw new Error(`fields ${given}, expected ${names}`);
  return Buffer.concat(names.map((name) => fields[name](value[name])));
};
