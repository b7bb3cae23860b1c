//! A small disk of its own under the folder of the runs, which fills up or becomes read-only.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::{Error, Place};

/// What is wrong with the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// There is no room left.
    Full,
    /// The system has made it read-only, as it does after an error of the device.
    ReadOnly,
}

/// The size of the disk: a run fits several times.
const SIZE: &str = "48M";

/// A disk under the folder of a place's runs. Needs the rights of the system's administrator.
/// Unmounted when it goes.
#[derive(Debug)]
pub struct SmallDisk {
    trouble: Trouble,
    mounted: PathBuf,
    image: PathBuf,
    spare: PathBuf,
}

impl SmallDisk {
    /// Mounts a disk of its own where the place's runs will lie: a `tmpfs` that can be filled, or an
    /// `ext4` in a file that can become read-only.
    ///
    /// # Errors
    /// When it cannot be mounted: mounting needs the rights of the system's administrator.
    pub async fn mount(place: &Place, trouble: Trouble) -> Result<Self, Error> {
        let mounted = place.project().join(".code-deploy/runs");
        std::fs::create_dir_all(&mounted).map_err(Error::file("make", &mounted))?;
        let image = place.path().join("disk.img");
        let disk = Self {
            trouble,
            mounted,
            image,
            spare: place.path().join("spare.img"),
        };
        match trouble {
            Trouble::Full => {
                let size = format!("size={SIZE},mode=0700");
                let words = ["-t", "tmpfs", "-o", &size, "none"];
                system("mount", &words, Some(&disk.mounted)).await?;
            }
            Trouble::ReadOnly => {
                system("truncate", &["-s", SIZE], Some(&disk.image)).await?;
                system("mkfs.ext4", &["-q", "-m", "0"], Some(&disk.image)).await?;
                disk.mount_image(&disk.image).await?;
            }
        }
        Ok(disk)
    }

    async fn mount_image(&self, image: &Path) -> Result<(), Error> {
        let image = image.display().to_string();
        let words = ["-o", "loop,errors=remount-ro", &image];
        system("mount", &words, Some(&self.mounted)).await
    }

    /// Lets the trouble begin.
    ///
    /// # Errors
    /// When it cannot be brought about.
    pub async fn begin(&self) -> Result<(), Error> {
        match self.trouble {
            Trouble::Full => self.fill(),
            // What the system does itself on an error of the device, also while files are written.
            Trouble::ReadOnly => {
                system("mount", &["-o", "remount,abort"], Some(&self.mounted)).await
            }
        }
    }

    fn ballast(&self) -> PathBuf {
        self.mounted.join(".ballast")
    }

    fn fill(&self) -> Result<(), Error> {
        let path = self.ballast();
        let mut file = std::fs::File::create(&path).map_err(Error::file("create", &path))?;
        for size in [1 << 20, 4096] {
            let block = vec![0; size];
            loop {
                match file.write_all(&block) {
                    Ok(()) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(Error::file("fill", &path)(error)),
                }
            }
        }
        Ok(())
    }

    /// Ends the trouble, as a person does.
    ///
    /// # Errors
    /// When the disk cannot be mended.
    pub async fn end(&self) -> Result<(), Error> {
        match self.trouble {
            Trouble::Full => {
                let path = self.ballast();
                std::fs::remove_file(&path).map_err(Error::file("remove", &path))
            }
            Trouble::ReadOnly => {
                // Processes that outlive the run have files of it open still.
                system("umount", &["-l"], Some(&self.mounted)).await?;
                // While they have, the broken device stays in use: its content is brought to another.
                std::fs::copy(&self.image, &self.spare)
                    .map_err(Error::file("copy", &self.image))?;
                // The check says by its code that it mended something.
                let checked = system("e2fsck", &["-p"], Some(&self.spare)).await;
                match checked {
                    Err(Error::Command { code: Some(1), .. }) | Ok(()) => {}
                    Err(error) => return Err(error),
                }
                self.mount_image(&self.spare).await
            }
        }
    }

    /// Unmounts the disk.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn unmount(self) -> Result<(), Error> {
        system("umount", &["-l"], Some(&self.mounted)).await
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // After `unmount` there is nothing left to do.
        let unmounted = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.mounted)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        drop(unmounted);
    }
}

async fn system(program: &str, words: &[&str], path: Option<&Path>) -> Result<(), Error> {
    let output = Command::new(program)
        .args(words)
        .args(path)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(Error::process("start"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Command {
        command: format!("{program} {}", words.join(" ")),
        code: output.status.code(),
        said: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
