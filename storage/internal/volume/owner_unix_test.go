//go:build unix

package volume

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// So is that of another user, unless the file system gives him all that is made there.
func TestDirectoryOfAnotherUserIsRefused(t *testing.T) {
	dir := t.TempDir()
	root, err := openFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := checkOwner(root, os.Geteuid()+1); err != nil {
		t.Errorf("what is made belongs to the owner of the directory: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left are %v, %v", entries, err)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory away")
	}
	if err := os.Chown(dir, 4711, 4712); err != nil {
		t.Fatal(err)
	}
	_, err = Open(dir, nil)
	if err == nil || !strings.Contains(err.Error(), "chown -R 0:"+strconv.Itoa(os.Getegid())+" "+dir) || !strings.Contains(err.Error(), "user 4711") {
		t.Errorf("open: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left are %v, %v", entries, err)
	}
	if err := os.Chown(dir, 0, 0); err != nil {
		t.Fatal(err)
	}
	opened, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	opened.Close()
}
