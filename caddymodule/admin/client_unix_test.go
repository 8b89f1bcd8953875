//go:build unix

package admin

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A socket that another user's server has tells so.
func TestSocketOfAnotherUser(t *testing.T) {
	if path := os.Getenv("PULLGATE_TEST_SOCKET"); path != "" {
		if err := checkSocket(t.Context(), "unix/"+path); !errors.Is(err, fs.ErrPermission) {
			t.Fatalf("socket of another user: %v", err)
		}
		if err := CheckFree(t.Context(), "unix/"+path); !errors.Is(err, fs.ErrPermission) {
			t.Fatalf("socket of another user is free: %v", err)
		}
		return
	}
	folder, err := os.MkdirTemp("", "pullgate-socket-") //nolint:usetesting // another user cannot enter the folders of t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "admin.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := checkSocket(t.Context(), "unix/"+path+"|0600"); err != nil {
		t.Errorf("own socket: %v", err)
	}
	if err := checkSocket(t.Context(), "unix/"+path+".none"); err != nil {
		t.Errorf("no socket: %v", err)
	}
	if err := errors.Join(os.Chmod(path, 0), os.Chmod(folder, 0o755)); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 {
		t.Setenv("PULLGATE_TEST_SOCKET", path)
		TestSocketOfAnotherUser(t)
		return
	}
	// Nothing is forbidden to root: somebody else has to try.
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(folder, "test")
	if raw, err := os.ReadFile(binary); err != nil || os.WriteFile(copied, raw, 0o755) != nil {
		t.Fatal("the test cannot be copied to where others reach it")
	}
	cmd := exec.CommandContext(t.Context(), copied, "-test.run", "^TestSocketOfAnotherUser$")
	cmd.Dir, cmd.Env = folder, []string{"PULLGATE_TEST_SOCKET=" + path, "HOME=" + folder}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// What a server listens at is not free, however busy that is; what it has left is.
func TestSocketIsFree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for range 4 { // the first of which wait
		if err := CheckFree(t.Context(), "unix/"+path+"|0600"); err == nil {
			t.Error("a socket that a server has is free")
		}
		if conn, err := net.Dial("unix", path); err == nil {
			defer conn.Close()
		}
	}
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"unix/" + path, "unix/" + path + ".none", "localhost:1", "unix/", "off"} {
		if err := CheckFree(t.Context(), address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}
