//! An image archive in the OCI layout (image-spec 1.1, image-layout.md) with
//! one layer. The same input gives the same bytes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What an image consists of.
#[derive(Debug)]
pub(super) struct Image {
    /// With registry and tag.
    pub(super) name: String,
    pub(super) entrypoint: String,
    pub(super) user: u32,
    pub(super) entries: Vec<Entry>,
}

/// An executable file in an image.
#[derive(Debug)]
pub(super) struct Entry {
    /// From the root.
    path: String,
    content: Vec<u8>,
}

struct Blob {
    digest: String,
    content: Vec<u8>,
}

// === impl Entry ===

impl Entry {
    /// Reads a file of this machine.
    pub(super) fn read(file: &Path, path: &str) -> Result<Self> {
        let content = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let path = path.to_owned();
        Ok(Self { path, content })
    }
}

// === impl Blob ===

impl Blob {
    fn new(content: Vec<u8>) -> Self {
        let digest = Sha256::digest(&content);
        let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { digest, content }
    }

    fn json(value: &Value) -> Self {
        Self::new(value.to_string().into_bytes())
    }

    fn descriptor(&self, media_type: &str) -> Value {
        let digest = format!("sha256:{}", self.digest);
        json!({"mediaType": media_type, "digest": digest, "size": self.content.len()})
    }
}

/// The archive.
pub(super) fn archive(image: &Image) -> Result<Vec<u8>> {
    let layer = Blob::new(layer(&image.entries)?);
    let config = Blob::json(&json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "User": image.user.to_string(),
            "Entrypoint": [image.entrypoint],
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", layer.digest)]},
    }));
    let manifest = Blob::json(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(CONFIG),
        "layers": [layer.descriptor(LAYER)],
    }));
    let index = index(image, &manifest);
    let mut tar = Builder::new(Vec::new());
    directory(&mut tar, "blobs")?;
    directory(&mut tar, "blobs/sha256")?;
    for blob in [&config, &layer, &manifest] {
        let path = format!("blobs/sha256/{}", blob.digest);
        file(&mut tar, &path, &blob.content, 0o644)?;
    }
    file(&mut tar, "index.json", index.to_string().as_bytes(), 0o644)?;
    let layout = json!({"imageLayoutVersion": "1.0.0"}).to_string();
    file(&mut tar, "oci-layout", layout.as_bytes(), 0o644)?;
    Ok(tar.into_inner()?)
}

fn index(image: &Image, manifest: &Blob) -> Value {
    let mut described = manifest.descriptor(MANIFEST);
    let tag = image.name.rsplit_once(':').map_or("", |(_, tag)| tag);
    if let Some(described) = described.as_object_mut() {
        let platform = json!({"architecture": architecture(), "os": "linux"});
        described.insert("platform".to_owned(), platform);
        // containerd reads the first, others the second.
        let names = json!({
            "io.containerd.image.name": image.name,
            "org.opencontainers.image.ref.name": tag,
        });
        described.insert("annotations".to_owned(), names);
    }
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [described]})
}

/// As Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn layer(entries: &[Entry]) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    let mut folders = BTreeSet::new();
    for entry in entries {
        let parents = Path::new(&entry.path).ancestors().skip(1);
        folders.extend(parents.filter_map(Path::to_str).map(relative));
    }
    for folder in folders.iter().filter(|folder| !folder.is_empty()) {
        directory(&mut tar, folder)?;
    }
    for entry in entries {
        file(&mut tar, relative(&entry.path), &entry.content, 0o755)?;
    }
    Ok(tar.into_inner()?)
}

fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

fn directory(tar: &mut Builder<Vec<u8>>, path: &str) -> Result<()> {
    let mut header = header(0, 0o755);
    header.set_entry_type(EntryType::Directory);
    tar.append_data(&mut header, format!("{path}/"), &[][..])?;
    Ok(())
}

fn file(tar: &mut Builder<Vec<u8>>, path: &str, content: &[u8], mode: u32) -> Result<()> {
    let mut header = header(content.len(), mode);
    header.set_entry_type(EntryType::Regular);
    tar.append_data(&mut header, path, content)?;
    Ok(())
}

/// Of root, and from no time, so that the same files give the same archive.
fn header(size: usize, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(size as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::*;

    fn image() -> Image {
        let entry = |path: &str, content: &[u8]| Entry {
            path: path.to_owned(),
            content: content.to_vec(),
        };
        Image {
            name: "docker.io/library/a:dev".to_owned(),
            entrypoint: "/a".to_owned(),
            user: 64020,
            entries: vec![entry("/a", b"program"), entry("/lib/x/libc.so.6", b"c")],
        }
    }

    fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap().map(Result::unwrap);
        entries
            .map(|mut entry| {
                let mut content = Vec::new();
                let _ = entry.read_to_end(&mut content).unwrap();
                (entry.path().unwrap().display().to_string(), content)
            })
            .collect()
    }

    fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, described: &Value) -> &'a [u8] {
        let digest = described["digest"].as_str().unwrap();
        let digest = digest.strip_prefix("sha256:").unwrap();
        let content = &files[&format!("blobs/sha256/{digest}")];
        assert_eq!(described["size"], content.len());
        assert_eq!(Blob::new(content.clone()).digest, digest);
        content
    }

    #[test]
    fn everything_is_reached_from_the_index_by_its_digest() {
        let files = files(&archive(&image()).unwrap());
        let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let index = json(&files["index.json"]);
        let described = &index["manifests"][0];
        assert_eq!(
            described["annotations"]["io.containerd.image.name"],
            "docker.io/library/a:dev"
        );
        let manifest = json(blob(&files, described));
        let config = json(blob(&files, &manifest["config"]));
        assert_eq!(config["config"]["User"], "64020");
        assert_eq!(config["config"]["Entrypoint"], json!(["/a"]));
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            manifest["layers"][0]["digest"]
        );
        let layer = super::tests::files(blob(&files, &manifest["layers"][0]));
        let paths: Vec<_> = layer.keys().map(String::as_str).collect();
        assert_eq!(paths, ["a", "lib/", "lib/x/", "lib/x/libc.so.6"]);
        assert_eq!(layer["a"], b"program");
    }

    #[test]
    fn the_same_input_gives_the_same_archive() {
        assert_eq!(archive(&image()).unwrap(), archive(&image()).unwrap());
    }
}
