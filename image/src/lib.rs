//! Builds the disk image of a node: a locked set of Debian packages, k3s and our own programs become a
//! verified root, a unified kernel image and a disk, the same byte for byte each time.

pub mod build;
pub mod bundle;
pub mod deb;
pub mod digest;
pub mod disk;
pub mod download;
pub mod elf;
pub mod filesystem;
pub mod index;
pub mod initramfs;
pub mod inputs;
pub mod k3s;
pub mod lock;
pub mod manifest;
pub mod measure;
pub mod mirror;
pub mod modules;
pub mod oci;
pub mod pe;
pub mod programs;
pub mod progress;
pub mod refresh;
pub mod release;
pub mod root;
pub mod runtime;
pub mod secure_boot;
pub mod sparse;
pub mod staging;
pub mod store;
pub mod tools;
pub mod tree;
pub mod uki;
pub mod verify;
pub mod version;
pub mod wanted;
