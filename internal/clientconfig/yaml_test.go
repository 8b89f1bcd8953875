package clientconfig

import "testing"

func TestObject(t *testing.T) {
	var nothing object
	files, err := yamlFile("x.yaml", object{
		{"b", "2"},
		{"a", []object{{{"c", true}, {"d", false}}}},
		{"left out", ""},
		{"nothing", nothing},
		{"lines", "1\n2\n"},
		{"hosts", map[string]object{"y": {{"z", 1}}, "x": {{"z", "yes"}}}},
	}, object{{"e", "f"}})
	const want = "b: \"2\"\na:\n  - c: true\nlines: |\n  1\n  2\nhosts:\n  x:\n    z: \"yes\"\n  \"y\":\n    z: 1\n---\ne: f\n"
	if err != nil || len(files) != 1 || string(files[0].Content) != want {
		t.Errorf("%v, got\n%s, want\n%s", err, files[0].Content, want)
	}
}
