//! Linux system interfaces: every unsafe line of the project.
