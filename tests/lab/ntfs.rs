//! Real NTFS volumes, made and read with the tools of the ntfs-3g package: mkntfs, ntfs-3g (FUSE), ntfscat, ntfsinfo.

#![cfg(test)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use klonwerk::image::ntfs::ReadAt;
use sha2::{Digest, Sha256};

/// A volume inside a file, as the reader wants it.
#[derive(Debug)]
pub(crate) struct VolumeFile {
    file: fs::File,
    offset: u64,
    pub(crate) bytes: u64,
}

impl VolumeFile {
    /// The volume that begins `offset` bytes into the file.
    pub(crate) fn open(path: &Path, offset: u64, bytes: u64) -> Self {
        Self { file: fs::File::open(path).unwrap(), offset, bytes }
    }

    /// A file that is a volume as a whole.
    pub(crate) fn whole(path: &Path) -> Self {
        Self::open(path, 0, fs::metadata(path).unwrap().len())
    }
}

impl ReadAt for VolumeFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, self.offset + offset)
    }
}

/// Whether the programs are there and may be used; where not, says so, and fails where `KLONWERK_LAB=required`.
pub(crate) fn tools(programs: &[&str]) -> bool {
    let there = look_for(programs);
    assert!(there || std::env::var("KLONWERK_LAB").as_deref() != Ok("required"), "KLONWERK_LAB=required");
    there
}

fn look_for(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs.iter().filter(|program| find(program).is_none()).collect();
    if !missing.is_empty() {
        eprintln!("skipped: {missing:?} not installed (Debian package ntfs-3g)");
        return false;
    }
    if programs.contains(&"ntfs-3g")
        && (fs::metadata("/proc/self").unwrap().uid() != 0 || !Path::new("/dev/fuse").exists())
    {
        eprintln!("skipped: mounting needs root and /dev/fuse");
        return false;
    }
    true
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
    path.split(':').chain(more).map(|folder| Path::new(folder).join(program)).find(|path| path.is_file())
}

/// Runs a program to its end.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Output {
    let path = find(program).unwrap_or_else(|| PathBuf::from(program));
    Command::new(path).args(arguments).env("LC_ALL", "C.UTF-8").stdin(Stdio::null()).output().unwrap()
}

/// Runs a program that must succeed; gives what it printed.
pub(crate) fn must(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{text}\n{errors}", output.status);
    text
}

/// Formats `path` as an empty NTFS volume.
pub(crate) fn format(path: &Path, bytes: u64, cluster_bytes: u32, label: &str) {
    fs::File::create(path).unwrap().set_len(bytes).unwrap();
    must(
        "mkntfs",
        &[
            "-F",
            "-Q",
            "-q",
            "-c",
            &cluster_bytes.to_string(),
            "-L",
            label,
            "-p",
            "2048",
            "-H",
            "255",
            "-S",
            "63",
            "-s",
            "512",
            path.to_str().unwrap(),
        ],
    );
}

/// A mounted volume; unmounted when dropped, by [`Mount::end`] with a check.
#[derive(Debug)]
pub(crate) struct Mount {
    place: Option<tempfile::TempDir>,
}

impl Mount {
    /// Mounts the volume in `path` with ntfs-3g.
    pub(crate) fn new(path: &Path, options: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        must("ntfs-3g", &["-o", options, path.to_str().unwrap(), place.path().to_str().unwrap()]);
        Self { place: Some(place) }
    }

    /// Where its files are.
    pub(crate) fn path(&self) -> &Path {
        self.place.as_ref().unwrap().path()
    }

    fn unmount(&mut self) -> bool {
        let Some(place) = self.place.take() else { return true };
        let name = place.path().to_str().unwrap().to_owned();
        let done = run("umount", &[&name]).status.success();
        // The FUSE process writes the last blocks after umount returned; it is gone when it lets go of the volume.
        let patience = Instant::now();
        while mounted(&name) && patience.elapsed() < Duration::from_secs(10) {
            std::thread::yield_now();
        }
        done
    }

    /// Unmounts it.
    pub(crate) fn end(mut self) {
        assert!(self.unmount(), "cannot unmount");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.unmount();
    }
}

/// Whether an ntfs-3g process for this mount point is still there.
fn mounted(place: &str) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    processes.flatten().any(|process| {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        words.next().is_some_and(|program| program.ends_with(b"ntfs-3g")) && words.any(|word| word == place.as_bytes())
    })
}

/// Reproducible bytes, about half of them compressible.
pub(crate) fn contents(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if state & 1 == 0 {
            out.extend_from_slice(&state.to_le_bytes());
        } else {
            out.extend_from_slice(b"klonwerk");
        }
    }
    out.truncate(len);
    out
}

/// Writes `n` files of 0 to 60,000 bytes in folders of 250 below `root`, with names that need care.
pub(crate) fn fill(root: &Path, n: usize, seed: u64) {
    for i in 0..n {
        let folder = root.join(format!("Ordner {}", i / 250));
        if i % 250 == 0 {
            fs::create_dir_all(&folder).unwrap();
        }
        let name = match i % 4 {
            0 => format!("Übung {i:05} größer als acht Zeichen.docx"),
            1 => format!("F{i:05}.TXT"),
            2 => format!("Привет {i}.dat"),
            _ => format!("file with a rather long name, number {i}, so that index nodes split often.bin"),
        };
        let len = ((i * 7919) % 60_001) / if i % 3 == 0 { 100 } else { 1 };
        let mut file = fs::File::create(folder.join(name)).unwrap();
        file.write_all(&contents(seed + i as u64, len)).unwrap();
    }
}

/// A formatted volume of `bytes` with `n` files, some deleted again so that free space lies in many pieces, and with
/// `more` called on the mounted root before the end.
pub(crate) fn volume(path: &Path, bytes: u64, cluster_bytes: u32, n: usize, more: impl FnOnce(&Path)) {
    format(path, bytes, cluster_bytes, "Master");
    let mount = Mount::new(path, "rw,streams_interface=none");
    fill(mount.path(), n, 1);
    for i in (0..n).filter(|i| i % 12 == 1) {
        fs::remove_file(mount.path().join(format!("Ordner {}", i / 250)).join(format!("F{i:05}.TXT"))).unwrap();
    }
    more(mount.path());
    mount.end();
}

/// The SHA-256 of each file below `root`, by path.
pub(crate) fn hash_tree(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut out = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
                continue;
            }
            let mut hasher = Sha256::new();
            let mut file = fs::File::open(entry.path()).unwrap();
            let mut buffer = [0; 64 * 1024];
            loop {
                let n = file.read(&mut buffer).unwrap();
                if n == 0 {
                    break;
                }
                hasher.update(&buffer[..n]);
            }
            let hash = data_encoding::HEXLOWER.encode(&hasher.finalize());
            out.insert(entry.path().strip_prefix(root).unwrap().to_owned(), hash);
        }
    }
    out
}

/// The SHA-256 of each file of the volume that begins `offset` bytes into the file `disk`, through a read-only mount.
pub(crate) fn hash_volume(disk: &Path, offset: u64, bytes: u64) -> BTreeMap<PathBuf, String> {
    let copy;
    let volume = if offset == 0 {
        disk
    } else {
        // The kernel makes no devices for partitions here, so the volume is looked at in a file of its own.
        copy = tempfile::NamedTempFile::new_in(disk.parent().unwrap()).unwrap();
        copy_range(disk, offset, copy.path(), 0, bytes);
        copy.path()
    };
    let mount = Mount::new(volume, "ro,streams_interface=none");
    let hashes = hash_tree(mount.path());
    mount.end();
    hashes
}

/// Copies bytes from file to file, leaving holes where they are zero.
pub(crate) fn copy_range(from: &Path, from_offset: u64, to: &Path, to_offset: u64, bytes: u64) {
    let from = fs::File::open(from).unwrap();
    let to = fs::OpenOptions::new().write(true).open(to).unwrap();
    if to.metadata().unwrap().len() < to_offset + bytes {
        to.set_len(to_offset + bytes).unwrap();
    }
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < bytes {
        let n = (bytes - at).min(buffer.len() as u64) as usize;
        from.read_exact_at(&mut buffer[..n], from_offset + at).unwrap();
        if buffer[..n].iter().any(|byte| *byte != 0) {
            to.write_all_at(&buffer[..n], to_offset + at).unwrap();
        }
        at += n as u64;
    }
}

/// The number of free clusters, as ntfsinfo counts them.
pub(crate) fn free_clusters(volume: &Path) -> u64 {
    let text = must("ntfsinfo", &["-m", "-f", volume.to_str().unwrap()]);
    let line = text.lines().find(|line| line.contains("Free Clusters:")).unwrap_or_else(|| panic!("{text}"));
    line.split(':').nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}
