package clientconfig

import (
	"bytes"
	"errors"
	"reflect"

	"go.yaml.in/yaml/v3"
)

// object is a mapping of YAML, its fields in order. One that is false, empty or nil is
// left out.
type object []field

type field struct {
	name  string
	value any
}

// MarshalYAML implements yaml.Marshaler.
func (o object) MarshalYAML() (any, error) {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range o {
		if reflect.ValueOf(f.value).IsZero() {
			continue
		}
		var name, value yaml.Node
		if err := errors.Join(name.Encode(f.name), value.Encode(f.value)); err != nil {
			return nil, err
		}
		n.Content = append(n.Content, &name, &value)
	}
	return n, nil
}

// login is the user and the password as most clients name them.
func (o Options) login() object { return object{{"username", o.Username}, {"password", o.Password}} }

// ofHost puts what holds for the host of the endpoint under its name; nil = nothing does.
func (o Options) ofHost(host object) map[string]object {
	if host == nil {
		return nil
	}
	return map[string]object{o.Endpoint.Host: host}
}

// yamlFile makes one file of documents, which all belong together.
func yamlFile(path string, documents ...any) ([]File, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	for _, d := range documents {
		if err := e.Encode(d); err != nil {
			return nil, err
		}
	}
	if err := e.Close(); err != nil {
		return nil, err
	}
	return []File{{Path: path, Content: b.Bytes()}}, nil
}
