package caddymodule

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// printPeak runs the command pullgate, and prints how many KiB of memory it had at its
// peak, and its exit code. It is a process of its own, since what the kernel tells of a
// command begins with the memory of who starts it.
func printPeak() {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Cmd{Path: self, Args: append([]string{"pullgate"}, os.Args[1:]...), Stderr: os.Stderr}
	if err := cmd.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			panic(err)
		}
	}
	fmt.Println(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss, cmd.ProcessState.ExitCode())
}

// peakOf runs the command pullgate, and returns its memory at the peak in bytes, its
// exit code and what it has complained of.
func peakOf(t *testing.T, args ...string) (peak int64, code int, complaint string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var complaints strings.Builder
	home := t.TempDir()
	cmd := exec.Cmd{
		Path: self, Args: append([]string{"peak"}, args...), Stderr: &complaints,
		Env: []string{"HOME=" + home, "XDG_DATA_HOME=" + home, "XDG_CONFIG_HOME=" + home, "TMPDIR=" + os.TempDir()},
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, complaints.String())
	}
	if _, err := fmt.Sscan(string(out), &peak, &code); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return peak << 10, code, complaints.String()
}

// layoutTar writes a layout whose index.json has these manifests, and returns its name.
func layoutTar(t *testing.T, manifests string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "layout.tar")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(file)
	for _, entry := range [][2]string{
		{"oci-layout", `{"imageLayoutVersion":"1.0.0"}`},
		{"index.json", `{"schemaVersion":2,"manifests":[` + manifests + `]}`},
	} {
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: entry[0], Size: int64(len(entry[1])), Mode: 0o644})
		if _, err2 := w.Write([]byte(entry[1])); err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
	}
	if err := errors.Join(w.Close(), file.Close()); err != nil {
		t.Fatal(err)
	}
	return name
}

// failure is the exit code of what could not be done.
const failure = 2

// A list of nothing takes little memory to refuse, as the whole process has it.
func TestImportOfListsTakesLittleMemory(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	before, code, complaint := peakOf(t, "mirror", "import", layoutTar(t, ""), "--storage", store)
	if code != failure {
		t.Fatalf("exit code %d: %s", code, complaint)
	}
	one := `{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,"digest":"sha256:` + strings.Repeat("a", 64) + `"}`
	for name, entry := range map[string]string{"nothing": "{}", "descriptors": one} {
		layout := layoutTar(t, strings.Repeat(entry+",", 8<<20/(len(entry)+1))+entry)
		peak, code, complaint := peakOf(t, "mirror", "import", layout, "--storage", store)
		t.Logf("%s: %d MiB, and %d MiB of an empty list", name, peak>>20, before>>20)
		if code != failure || !strings.Contains(complaint, "the bundle is damaged") {
			t.Errorf("%s: exit code %d: %s", name, code, complaint)
		}
		if peak-before > 64<<20 {
			t.Errorf("%s: it takes %d MiB, and an empty list %d MiB", name, peak>>20, before>>20)
		}
	}
}
