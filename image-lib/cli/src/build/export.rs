//! What becomes of what was built: `--output`, `--push`, `--load`, and the files that tell of it.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use keel_image::build::attest::Predicate;
use keel_image::build::form::Form;
use keel_image::build::output::{self, Written};
use keel_image::build::{BuildError, BuildOptions, Built, Report, StepError};
use keel_image::copy::{
    ArchiveDestination, ArchiveForm, Destination, LayoutDestination, RegistryDestination,
};
use keel_image::reference::Reference;
use keel_image::registry::{PushOptions, SendOptions};
use keel_image::spec::Descriptor;
use keel_image::store::Store;
use serde_json::json;

use super::flags::Arguments;
use super::target::{Output, Stream, Target};
use crate::export::to_file;
use crate::failure::Failure;
use crate::progress::Bars;

/// Where everything goes.
pub(super) struct Export {
    outputs: Vec<Output>,
    /// Whether someone asks for the image's id though no target needs an image.
    is_asked: bool,
}

impl Export {
    /// The targets of a build for so many platforms.
    pub(super) fn plan(
        arguments: &Arguments,
        options: &BuildOptions,
        platforms: usize,
    ) -> Result<Self, String> {
        let mut outputs = arguments.output.clone();
        let is_image =
            |output: &Output| matches!(output.target, Target::Image { .. } | Target::ByDigest);
        if outputs.is_empty() || arguments.load || (arguments.push && !outputs.iter().any(is_image))
        {
            outputs.push(Target::Image { push: false }.into());
        }
        for output in &mut outputs {
            if output.names.is_empty() {
                output.names.clone_from(&options.tags);
            }
            settle_form(output, options, platforms)?;
            let Target::Image { push } = &mut output.target else { continue };
            *push |= arguments.push;
            if *push && output.names.is_empty() {
                return Err("tag is needed when pushing to registry".to_owned());
            }
        }
        let to_standard = |output: &&Output| {
            let (Target::Tar(stream)
            | Target::LayoutArchive(stream)
            | Target::DockerArchive(stream)) = &output.target
            else {
                return false;
            };
            *stream == Stream::Standard
        };
        let streams = outputs.iter().filter(to_standard).count();
        if streams > 1 {
            return Err("only one output can go to the standard output".to_owned());
        }
        if streams == 1 && arguments.explain.is_some() {
            return Err(
                "--explain and an output both go to the standard output; name a file with dest="
                    .to_owned(),
            );
        }
        if streams == 1 && io::stdout().is_terminal() {
            return Err(
                "refusing to write an archive to a terminal; name a file with dest=".to_owned()
            );
        }
        let single =
            |output: &Output| matches!(output.target, Target::Tar(_) | Target::DockerArchive(_));
        if platforms > 1 && outputs.iter().any(single) {
            return Err(
                "an output of type tar or docker holds the result for one platform only".to_owned()
            );
        }
        let is_asked = arguments.iidfile.is_some() || arguments.metadata_file.is_some();
        Ok(Self { outputs, is_asked })
    }

    /// Writes everything.
    pub(super) fn carry_out(
        &self,
        store: &Store,
        built: &[Built],
        options: &BuildOptions,
        report: &dyn Report,
    ) -> Result<Exported, Failure> {
        let is_nothing = |output: &Output| output.target == Target::Nothing;
        let said = if self.outputs.iter().all(is_nothing) && !self.is_asked {
            vec![Vec::new(); built.len()]
        } else {
            attestations(store, built, options, report)?
        };
        let mut exported = Exported::default();
        if self.is_asked && !self.outputs.iter().any(|output| needs_image(&output.target)) {
            let annotations = options.annotations.clone();
            let form = Form { annotations, ..Form::default() };
            exported.document(store, built, &said, &form, &options.tags)?;
        }
        for output in &self.outputs {
            let step = report.begin(title(&output.target));
            let mut note = |text: &str| report.note(step, text);
            let written = if needs_image(&output.target) {
                exported.document(store, built, &said, &output.form, &output.names)
            } else {
                Ok(())
            };
            let written = written
                .and_then(|()| exported.write(store, built, &said, output, options, &mut note));
            match written {
                Ok(()) => report.done(step),
                Err(failure) => {
                    report.failed(step, failure.message().lines().next().unwrap_or_default());
                    return Err(failure);
                }
            }
        }
        Ok(exported)
    }
}

/// What is to be said of each result.
fn attestations(
    store: &Store,
    built: &[Built],
    options: &BuildOptions,
    report: &dyn Report,
) -> Result<Vec<Vec<Predicate>>, Failure> {
    if options.attestations.is_empty() {
        return Ok(vec![Vec::new(); built.len()]);
    }
    let step = report.begin("[internal] make attestations");
    let said = built.iter().map(|one| one.predicates(store, options));
    let said = said.collect::<Result<Vec<_>, StepError>>();
    match said {
        Ok(said) => {
            report.done(step);
            Ok(said)
        }
        Err(error) => {
            report.failed(step, &error.to_string());
            Err(failed(Path::new("attestations"), error))
        }
    }
}

/// Adds the annotations of the build to those of an output, and refuses what does not go together.
fn settle_form(
    output: &mut Output,
    options: &BuildOptions,
    platforms: usize,
) -> Result<(), String> {
    let is_said = !options.attestations.is_empty();
    let mut annotations = options.annotations.clone();
    annotations.extend(&output.form.annotations);
    let of_index = !annotations.index.is_empty() || !annotations.manifest_descriptor.is_empty();
    if of_index && needs_image(&output.target) && platforms == 1 && !is_said {
        return Err("annotations of an index need one: several platforms, or attestations".into());
    }
    if output.form.is_docker && (is_said || !annotations.is_empty()) {
        return Err(
            "oci-mediatypes=false: Docker's documents have no annotations and no attestations"
                .into(),
        );
    }
    if output.split == Some(false) && platforms > 1 && is_said {
        return Err(
            "platform-split=false: attestations of several platforms need a directory each".into(),
        );
    }
    output.form.annotations = annotations;
    Ok(())
}

/// Whether a target takes an image and not its files.
fn needs_image(target: &Target) -> bool {
    !matches!(target, Target::Directory(_) | Target::Tar(_) | Target::Nothing)
}

fn title(target: &Target) -> &'static str {
    match target {
        Target::Directory(_) => "exporting to client directory",
        Target::Tar(_) => "exporting to client tarball",
        Target::LayoutArchive(_) | Target::Layout(_) => "exporting to oci image format",
        Target::DockerArchive(_) => "exporting to docker image format",
        Target::Image { .. } | Target::ByDigest => "exporting to image",
        Target::Nothing => "exporting nothing",
    }
}

/// What was written.
#[derive(Default)]
pub(super) struct Exported {
    /// The manifest, or the index of several.
    root: Option<Descriptor>,
    images: Vec<Written>,
    names: Vec<Reference>,
}

impl Exported {
    /// The image's id; of several images the digest of their index.
    pub(super) fn id(&self) -> Option<String> {
        match &self.images[..] {
            [] => None,
            [only] => Some(only.id.to_string()),
            _ => self.root.as_ref().map(|root| root.digest.to_string()),
        }
    }

    /// Puts the documents of an image that will have these names into the store.
    fn document(
        &mut self,
        store: &Store,
        built: &[Built],
        said: &[Vec<Predicate>],
        form: &Form,
        names: &[Reference],
    ) -> Result<(), Failure> {
        let each = built.iter().zip(said);
        let images = each.map(|(one, said)| one.write(store, form, names, said));
        let images: Vec<Written> = images.collect::<Result<_, _>>().map_err(BuildError::Store)?;
        let root = output::root(store, &images, form).map_err(BuildError::Store)?;
        (self.root, self.images) = (Some(root), images);
        Ok(())
    }

    fn write(
        &mut self,
        store: &Store,
        built: &[Built],
        said: &[Vec<Predicate>],
        wanted: &Output,
        options: &BuildOptions,
        note: &mut dyn FnMut(&str),
    ) -> Result<(), Failure> {
        let names = &wanted.names;
        match &wanted.target {
            Target::Nothing => Ok(()),
            Target::Directory(path) => write_directories(store, built, said, path, wanted.split),
            Target::Tar(stream) => {
                let to = |writer: &mut dyn Write| -> Result<(), Failure> {
                    let place = place(stream);
                    built[0]
                        .write_tar(store, &said[0], writer)
                        .map_err(|error| failed(&place, error))?;
                    Ok(())
                };
                write_stream(stream, to)
            }
            Target::Layout(path) => {
                // One entry for each name; the blobs go there once.
                let tags = names.iter().map(|name| Some(name.tag().unwrap_or("latest")));
                let tags: Vec<_> = if names.is_empty() { vec![None] } else { tags.collect() };
                for tag in tags {
                    let mut destination = LayoutDestination::new(path, tag)?;
                    self.copy(store, names, &mut destination)?;
                }
                Ok(())
            }
            Target::LayoutArchive(stream) => {
                self.write_archive(store, names, stream, ArchiveForm::Layout)
            }
            Target::DockerArchive(stream) => {
                self.write_archive(store, names, stream, ArchiveForm::Docker)
            }
            Target::Image { push } => self.write_image(store, options, names, *push, note),
            Target::ByDigest => self.push_by_digest(store, options, names, note),
        }
    }

    fn write_image(
        &mut self,
        store: &Store,
        options: &BuildOptions,
        names: &[Reference],
        push: bool,
        note: &mut dyn FnMut(&str),
    ) -> Result<(), Failure> {
        let Some(root) = &self.root else { return Ok(()) };
        output::name(store, root, names)?;
        note(&format!("writing image {}", self.id().unwrap_or_default()));
        for name in names {
            note(&format!("naming to {name}"));
        }
        self.names.extend(names.iter().cloned());
        let Some(client) = options.registry.as_ref().filter(|_| push) else { return Ok(()) };
        for name in names {
            let pushed = client.push(store, name, &PushOptions::default(), &Bars::new(true))?;
            note(&format!("pushing manifest for {name}@{}", pushed.digest));
        }
        Ok(())
    }

    /// Sends the image to repositories, where nothing but its digest names it.
    fn push_by_digest(
        &mut self,
        store: &Store,
        options: &BuildOptions,
        names: &[Reference],
        note: &mut dyn FnMut(&str),
    ) -> Result<(), Failure> {
        let (Some(root), Some(client)) = (self.root.clone(), &options.registry) else {
            return Ok(());
        };
        for name in names {
            let name: Reference = format!("{}@{}", name.name(), root.digest)
                .parse()
                .map_err(|error| Failure::of(&error))?;
            let mut destination = RegistryDestination::new(client, &name, SendOptions::default())?;
            self.copy(store, &[], &mut destination)?;
            note(&format!("pushing manifest for {name}"));
            self.names.push(name);
        }
        Ok(())
    }

    fn copy(
        &self,
        store: &Store,
        names: &[Reference],
        destination: &mut dyn Destination,
    ) -> Result<(), Failure> {
        let Some(root) = &self.root else { return Ok(()) };
        Ok(output::copy_to(store, root, names, destination)?)
    }

    fn write_archive(
        &self,
        store: &Store,
        names: &[Reference],
        stream: &Stream,
        form: ArchiveForm,
    ) -> Result<(), Failure> {
        let scratch = store.scratch()?;
        let path = match stream {
            Stream::File(path) => path.clone(),
            Stream::Standard => scratch.path().join("archive"),
        };
        let mut destination = ArchiveDestination::new(&path, form, None)?;
        self.copy(store, names, &mut destination)?;
        if *stream == Stream::File(path.clone()) {
            return Ok(());
        }
        let copied = File::open(&path).and_then(|mut file| {
            let mut stdout = io::stdout().lock();
            io::copy(&mut file, &mut stdout).and_then(|_| stdout.flush())
        });
        copied.map_err(|error| Failure::at("write", Path::new("-"), &error))
    }

    /// `--iidfile` and `--metadata-file`.
    pub(super) fn write_files(&self, arguments: &Arguments) -> Result<(), Failure> {
        let write = |path: &PathBuf, text: &str| {
            std::fs::write(path, text).map_err(|error| Failure::at("write", path, &error))
        };
        if let (Some(path), Some(id)) = (&arguments.iidfile, self.id()) {
            write(path, &id)?;
        }
        let Some(path) = &arguments.metadata_file else { return Ok(()) };
        let mut facts = serde_json::Map::new();
        if let Some(root) = &self.root {
            facts.insert("containerimage.digest".to_owned(), json!(root.digest));
            facts.insert("containerimage.descriptor".to_owned(), json!(root));
        }
        if let [only] = &self.images[..] {
            facts.insert("containerimage.config.digest".to_owned(), json!(only.id));
        }
        if !self.names.is_empty() {
            let names: Vec<String> = self.names.iter().map(ToString::to_string).collect();
            facts.insert("image.name".to_owned(), json!(names.join(",")));
        }
        write(path, &format!("{:#}\n", serde_json::Value::Object(facts)))
    }
}

fn place(stream: &Stream) -> PathBuf {
    match stream {
        Stream::Standard => PathBuf::from("-"),
        Stream::File(path) => path.clone(),
    }
}

fn failed(target: &Path, error: StepError) -> Failure {
    BuildError::Output { target: target.to_owned(), source: Box::new(error) }.into()
}

fn write_directories(
    store: &Store,
    built: &[Built],
    said: &[Vec<Predicate>],
    path: &Path,
    split: Option<bool>,
) -> Result<(), Failure> {
    let is_split = split.unwrap_or(built.len() > 1);
    for (one, said) in built.iter().zip(said) {
        let mut below = path.to_owned();
        if is_split {
            below.push(one.config.platform().to_string().replace('/', "_"));
        }
        one.write_directory(store, said, &below).map_err(|error| failed(&below, error))?;
    }
    Ok(())
}

fn write_stream(
    stream: &Stream,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>,
) -> Result<(), Failure> {
    match stream {
        Stream::File(path) => to_file(path, |mut file| {
            write(&mut file)?;
            file.flush().map_err(|error| Failure::at("write", path, &error))
        }),
        Stream::Standard => {
            let mut stdout = BufWriter::with_capacity(128 << 10, io::stdout().lock());
            write(&mut stdout)?;
            stdout.flush().map_err(|error| Failure::at("write", Path::new("-"), &error))
        }
    }
}
