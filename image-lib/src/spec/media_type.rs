//! Media types of OCI 1.1 and of Docker's schema 2, which differ in name only.

/// An OCI manifest of one image.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI index of several manifests.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An OCI image configuration.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A layer as a plain tar.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// A layer as a gzip-compressed tar.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// A layer as a zstd-compressed tar.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// The descriptor of `{}`.
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Docker's manifest of one image, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's list of manifests.
pub const DOCKER_MANIFEST_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's image configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker's gzip-compressed layer.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Docker's plain layer.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// An OCI layer that may not be handed on, as a plain tar; deprecated, and still in use.
pub const OCI_LAYER_NONDISTRIBUTABLE: &str =
    "application/vnd.oci.image.layer.nondistributable.v1.tar";
/// Docker's layer that may not be handed on, as a plain tar.
pub const DOCKER_LAYER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";
/// Docker's schema 1, which is refused with a sentence.
pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
/// Docker's signed schema 1, which is refused with a sentence.
pub const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// Does `media_type` name the manifest of one image?
#[must_use]
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST)
}

/// Does `media_type` name a list of manifests?
#[must_use]
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_MANIFEST_LIST)
}

/// Does `media_type` name an image configuration?
#[must_use]
pub fn is_config(media_type: &str) -> bool {
    matches!(media_type, OCI_CONFIG | DOCKER_CONFIG)
}

/// Does `media_type` name a layer that can be unpacked? How it is compressed is not taken from it:
/// mislabelled layers are common, so the bytes are asked.
#[must_use]
pub fn is_layer(media_type: &str) -> bool {
    let oci = [OCI_LAYER, OCI_LAYER_NONDISTRIBUTABLE];
    let docker = [DOCKER_LAYER, DOCKER_LAYER_FOREIGN];
    let has = |names: [&str; 2], compressions: &[&str]| {
        let rest = names.iter().find_map(|name| media_type.strip_prefix(name));
        rest.is_some_and(|rest| compressions.contains(&rest))
    };
    has(oci, &["", "+gzip", "+zstd"]) || has(docker, &["", ".gzip", ".zstd"])
}

/// May a layer of this type only be fetched from the places that its descriptor names, and not be
/// handed on?
#[must_use]
pub fn is_nondistributable(media_type: &str) -> bool {
    is_layer(media_type)
        && (media_type.starts_with(OCI_LAYER_NONDISTRIBUTABLE)
            || media_type.starts_with(DOCKER_LAYER_FOREIGN))
}

/// Is `media_type` one of an encrypted layer (the suffix of ocicrypt)?
#[must_use]
pub fn is_encrypted(media_type: &str) -> bool {
    media_type.ends_with("+encrypted")
}

/// Is `media_type` one of Docker's schema 1?
#[must_use]
pub fn is_schema1(media_type: &str) -> bool {
    matches!(media_type, DOCKER_SCHEMA1 | DOCKER_SCHEMA1_SIGNED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_kind() {
        for kind in [OCI_MANIFEST, DOCKER_MANIFEST] {
            assert!(is_manifest(kind) && !is_index(kind) && !is_config(kind) && !is_layer(kind));
        }
        for kind in [OCI_INDEX, DOCKER_MANIFEST_LIST] {
            assert!(is_index(kind) && !is_manifest(kind) && !is_config(kind) && !is_layer(kind));
        }
        for kind in [OCI_CONFIG, DOCKER_CONFIG] {
            assert!(is_config(kind) && !is_manifest(kind) && !is_index(kind) && !is_layer(kind));
        }
        for (kind, layer, nondistributable) in [
            (OCI_LAYER, true, false),
            (OCI_LAYER_GZIP, true, false),
            (OCI_LAYER_ZSTD, true, false),
            (DOCKER_LAYER, true, false),
            (DOCKER_LAYER_GZIP, true, false),
            ("application/vnd.docker.image.rootfs.diff.tar.zstd", true, false),
            (OCI_LAYER_NONDISTRIBUTABLE, true, true),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", true, true),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", true, true),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", true, true),
            (OCI_EMPTY, false, false),
            ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", false, false),
            ("application/vnd.oci.image.layer.v1.tarball", false, false),
            ("application/vnd.in-toto+json", false, false),
            ("", false, false),
        ] {
            assert_eq!(is_layer(kind), layer, "{kind}");
            assert_eq!(is_nondistributable(kind), nondistributable, "{kind}");
        }
        assert!(is_schema1(DOCKER_SCHEMA1) && is_schema1(DOCKER_SCHEMA1_SIGNED));
        assert!(is_encrypted("application/vnd.oci.image.layer.v1.tar+gzip+encrypted"));
    }
}
