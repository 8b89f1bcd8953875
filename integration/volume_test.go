//go:build integration

package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// volume is a file system of its own, in a file.
type volume struct {
	image, dir string
	unmount    func() // before the end of the test; later calls do nothing
}

// newVolume makes an ext4 file system of so many bytes and mounts it until the end
// of the test.
func newVolume(t *testing.T, size int64) *volume {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	run(t, nil, "mkfs.ext4", "-q", "-F", "-m", "0", image)
	return mountVolume(t, image)
}

// mountVolume mounts the image of a volume, as a machine does that comes up again
// after a power failure if the image was copied under way.
func mountVolume(t *testing.T, image string) *volume {
	t.Helper()
	v := &volume{image: image, dir: mountPoint(t)}
	v.mount(t, "-o", "loop", image, v.dir)
	return v
}

// copyImage copies the image as it is: what the file system has not submitted yet,
// a disk would not have either.
func (v *volume) copyImage(t *testing.T) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "copy")
	run(t, nil, "cp", "--sparse=always", v.image, image)
	return image
}

func (v *volume) mount(t *testing.T, args ...string) {
	t.Helper()
	run(t, nil, "mount", args...)
	v.unmount = sync.OnceFunc(func() {
		if out, err := exec.Command("umount", v.dir).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %v: %s", v.dir, err, out)
			// It must not outlive the test; the kernel ends it with its last file.
			_ = syscall.Unmount(v.dir, syscall.MNT_DETACH)
		}
	})
	t.Cleanup(func() { v.unmount() })
}

func mountPoint(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}
