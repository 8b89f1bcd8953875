package caddymodule

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// pullImage pulls an image with all its platforms, until each answer is a hit.
func pullImage(ts *testscript.TestScript, _ bool, args []string) {
	image := ts.Value("image").(registrytest.Image)
	base := args[0] + "/v2/proxy-docker.io/" + image.Repository
	urls := []string{base + "/manifests/" + image.Tag}
	for _, p := range image.Platforms {
		urls = append(urls, base+"/manifests/"+p.Manifest.Digest.String(), base+"/blobs/"+p.Config.Digest.String())
		for _, l := range p.Layers {
			urls = append(urls, base+"/blobs/"+l.Digest.String())
		}
	}
	for deadline := time.Now().Add(processTime); len(urls) > 0; {
		status, header, err := get(urls[0])
		switch {
		case err == nil && status == http.StatusOK && strings.HasPrefix(header.Get("Cache-Status"), "pullgate; hit"):
			urls = urls[1:]
		case time.Now().After(deadline):
			ts.Fatalf("pull %s: status %d, %v, %v", urls[0], status, header, err)
		default:
			time.Sleep(10 * time.Millisecond) // another process has no event for us
		}
	}
}

// flipBlobs damages blobs as a failing disk does.
func flipBlobs(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(filepath.WalkDir(filepath.Join(ts.MkAbs(args[0]), "blobs"), func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || n == 0 {
			return err
		}
		n--
		b, err := os.ReadFile(name)
		if err == nil {
			b[len(b)/2] ^= 4
			err = errors.Join(os.Chmod(name, 0o600), os.WriteFile(name, b, 0o600), os.Chmod(name, 0o444))
		}
		return err
	}))
	if n > 0 {
		ts.Fatalf("%d blobs too few", n)
	}
}
