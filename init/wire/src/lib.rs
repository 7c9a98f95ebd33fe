//! Messages between programs: init and its children, node and master.
