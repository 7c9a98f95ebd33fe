//! Sparse files: where their data is, and copies that keep their holes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

use rustix::io::Errno;

/// The ranges of a file that hold data, in order; all else reads as zeros (lseek(2), SEEK_DATA).
///
/// # Errors
/// When the file can't be searched.
pub fn data_ranges(file: &File) -> io::Result<Vec<Range<u64>>> {
    let mut ranges = Vec::new();
    let mut position = 0;
    loop {
        let start = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(position)) {
            Ok(start) => start,
            // no data behind this position
            Err(Errno::NXIO) => return Ok(ranges),
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(start))?;
        ranges.push(start..end);
        position = end;
    }
}

/// Copies a file's data to an offset of another one that holds zeros there.
///
/// # Errors
/// When either file fails.
pub fn copy(mut from: &File, mut to: &File, offset: u64) -> io::Result<()> {
    let mut block = vec![0; 256 << 10];
    for range in data_ranges(from)? {
        from.seek(SeekFrom::Start(range.start))?;
        to.seek(SeekFrom::Start(offset + range.start))?;
        let mut left = range.end - range.start;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
            from.read_exact(&mut block[..want])?;
            to.write_all(&block[..want])?;
            left -= want as u64;
        }
    }
    Ok(())
}

/// The offset of the first byte in which two files differ; the end of the shorter one where that is
/// all. `None`: they are the same.
///
/// # Errors
/// When either file fails.
pub fn first_difference(mut left: &File, mut right: &File) -> io::Result<Option<u64>> {
    let (left_length, right_length) = (left.metadata()?.len(), right.metadata()?.len());
    let end = left_length.min(right_length);
    let mut ranges = data_ranges(left)?;
    ranges.extend(data_ranges(right)?);
    ranges.sort_by_key(|range| range.start);
    let (mut left_block, mut right_block) = (vec![0; 256 << 10], vec![0; 256 << 10]);
    let mut position = 0;
    for range in ranges {
        position = position.max(range.start);
        left.seek(SeekFrom::Start(position))?;
        right.seek(SeekFrom::Start(position))?;
        while position < range.end.min(end) {
            let left_over = usize::try_from(range.end.min(end) - position).unwrap_or(usize::MAX);
            let want = left_over.min(left_block.len());
            left.read_exact(&mut left_block[..want])?;
            right.read_exact(&mut right_block[..want])?;
            if left_block[..want] != right_block[..want] {
                let pairs = left_block.iter().zip(&right_block);
                let same = pairs.take_while(|(left, right)| left == right).count();
                return Ok(Some(position + same as u64));
            }
            position += want as u64;
        }
    }
    Ok((left_length != right_length).then_some(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(length: u64, data: &[(u64, &[u8])]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(length).unwrap();
        for (offset, bytes) in data {
            file.seek(SeekFrom::Start(*offset)).unwrap();
            file.write_all(bytes).unwrap();
        }
        file
    }

    #[test]
    fn holes_are_zeros() {
        let sparse = file(8 << 20, &[(4 << 20, b"x")]);
        let mut dense = vec![0; 8 << 20];
        dense[4 << 20] = b'x';
        assert_eq!(
            first_difference(&sparse, &file(0, &[(0, &dense)])).unwrap(),
            None
        );
        let other = file(8 << 20, &[(4 << 20, b"x"), (6 << 20, b"y")]);
        assert_eq!(first_difference(&sparse, &other).unwrap(), Some(6 << 20));
        assert_eq!(first_difference(&other, &sparse).unwrap(), Some(6 << 20));
        let longer = file(9 << 20, &[(4 << 20, b"x")]);
        assert_eq!(first_difference(&sparse, &longer).unwrap(), Some(8 << 20));
    }

    #[test]
    fn a_copy_keeps_content_and_holes() {
        let from = file(8 << 20, &[(0, b"begin"), (4 << 20, b"middle")]);
        let to = file(16 << 20, &[]);
        copy(&from, &to, 1 << 20).unwrap();
        let expected = file(16 << 20, &[(1 << 20, b"begin"), (5 << 20, b"middle")]);
        assert_eq!(first_difference(&to, &expected).unwrap(), None);
    }
}
