package release

import (
	"path/filepath"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// TestComposeFile: Compose's own loader takes the file by its schema, and it runs the image
// that the Dockerfile makes, as little as it needs.
func TestComposeFile(t *testing.T) {
	project, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  filepath.Join(repository(), "deploy/docker"),
		ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(repository(), "deploy/docker/compose.yaml")}},
	}, func(o *loader.Options) { o.SetProjectName("pullgate", true) })
	if err != nil {
		t.Fatal(err)
	}
	s, err := project.GetService("pullgate")
	if err != nil {
		t.Fatal(err)
	}
	if s.Image != "ghcr.io/pullgate/pullgate:latest" || s.Build == nil || s.Build.Context != repository() || !exists(s.Build.Dockerfile) {
		t.Errorf("it runs %s of %+v", s.Image, s.Build)
	}
	if len(s.Ports) != 1 || s.Ports[0].Target != 5000 || s.Ports[0].Published != "5000" {
		t.Errorf("ports: %+v", s.Ports)
	}
	if len(s.Volumes) != 1 || s.Volumes[0].Type != types.VolumeTypeVolume || s.Volumes[0].Target != "/data" {
		t.Errorf("volumes: %+v", s.Volumes)
	}
	if _, ok := project.Volumes[s.Volumes[0].Source]; !ok {
		t.Errorf("there is no volume %s", s.Volumes[0].Source)
	}
	if !s.ReadOnly || len(s.CapDrop) != 1 || s.CapDrop[0] != "ALL" || len(s.SecurityOpt) != 1 || s.Privileged {
		t.Errorf("read-only %t, capabilities dropped %v, %v", s.ReadOnly, s.CapDrop, s.SecurityOpt)
	}
}
