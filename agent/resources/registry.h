// The last good version of every object, with all that is wrong now. Pure: fed with what files say.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "policy/policy_objects.h"
#include "resources/document.h"

namespace sluice::resources {

class Registry {
 public:
  // Replaces all that came from `file`. An object with errors keeps its last good version. When the file as a whole, or
  // one document's name, cannot be read, every object of the file stays.
  void update_file(const std::string& file, FileContent content);
  // The file is gone, and its objects with it.
  void remove_file(const std::string& file);

  // The same for one object of a source that tells of each by itself. `key` is who it is, whatever the document says;
  // an object with errors keeps its last good version here too.
  void update_object(const std::string& source, const ObjectKey& key, Document document);
  void remove_object(const std::string& source, const ObjectKey& key);

  // What is in force, each kind sorted by age, name and namespace. Of an object in two files, the one of the file whose
  // path sorts first.
  PolicyObjects policy() const;
  // The same with where they stand, in the order of their files and names.
  std::vector<LocatedObject> objects() const;
  // Is the object there, though never without errors?
  bool is_rejected(const ObjectKey& key) const;
  // Sorted by file and line.
  std::vector<Problem> problems() const;

 private:
  struct Object {
    unsigned line = 0;
    PolicyObject content;
    FieldLines lines;       // of `content`
    bool rejected = false;  // the newest version has errors; `content` is an older one

    bool is_known() const { return !std::holds_alternative<std::monostate>(content); }
    std::vector<Problem> problems;
  };
  struct File {
    std::map<ObjectKey, Object> objects;
    std::vector<Problem> problems;  // of no object
  };
  struct InForce {
    const std::string* file;
    const ObjectKey* key;
    const Object* object;
  };

  static Object replace(const File& before, const ObjectKey& key, Document document);
  // The objects in force; `shadowed` gets those that an earlier file has already.
  std::vector<InForce> in_force(std::vector<InForce>* shadowed) const;

  std::map<std::string, File> files_;
};

}  // namespace sluice::resources
