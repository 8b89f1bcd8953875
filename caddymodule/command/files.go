package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/pullgate/pullgate/internal/clientconfig"
)

// printFiles prints files one after the other, each under a line with its path if
// there are several.
func printFiles(to io.Writer, files []clientconfig.File) error {
	var b bytes.Buffer
	for n, file := range files {
		if len(files) > 1 {
			if n > 0 {
				b.WriteByte('\n')
			}
			fmt.Fprintf(&b, "# %s\n", file.Path)
		}
		b.Write(file.Content)
	}
	_, err := to.Write(b.Bytes())
	return err
}

// writeFiles writes files below a folder. Unless replace is set, nothing is
// written if one of them is there already and holds something else.
func writeFiles(report io.Writer, folder string, files []clientconfig.File, replace bool) error {
	var wanted []clientconfig.File
	for _, file := range files {
		name := filepath.Join(folder, filepath.FromSlash(file.Path))
		old, err := os.ReadFile(name)
		switch {
		case err == nil && bytes.Equal(old, file.Content):
			fmt.Fprintln(report, name+" is up to date")
			continue
		case err == nil && !replace:
			return fmt.Errorf("%s exists and holds something else: move it away first, or replace it with --force", name)
		case err != nil && !errors.Is(err, os.ErrNotExist):
			return err
		}
		wanted = append(wanted, file)
	}
	for _, file := range wanted {
		name := filepath.Join(folder, filepath.FromSlash(file.Path))
		if err := writeWhole(name, file); err != nil {
			return err
		}
		fmt.Fprintln(report, "wrote "+name)
	}
	return nil
}

// writeWhole puts a file in place all at once: a client that reads it meanwhile
// finds the old one or the new one.
func writeWhole(name string, file clientconfig.File) (err error) {
	// Clients of ordinary users read these files too, those with a password aside.
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil { //nolint:gosec // as above
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(name), ".pullgate-*") // with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = temporary.Close()
			_ = os.Remove(temporary.Name())
		}
	}()
	if _, err := temporary.Write(file.Content); err != nil {
		return err
	}
	if !file.Secret {
		if err := temporary.Chmod(0o644); err != nil {
			return err
		}
	}
	if err := temporary.Sync(); err != nil {
		return err
	}
	if err := temporary.Close(); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), name)
}
