// A grow-only array aligned to cache lines; its memory is kept from frame to frame, so it page-faults once.
#pragma once

#include <cstddef>
#include <new>

namespace headsplat {

template <class T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { release(); }

  // Makes room for n elements, whose values are undefined. Earlier contents are lost when the array grows.
  T* resize(size_t n) {
    if (n > capacity_) {
      release();
      size_t wanted = n + n / 4 + 64;
      data_ = static_cast<T*>(::operator new(wanted * sizeof(T), std::align_val_t{64}));
      capacity_ = wanted;
    }
    return data_;
  }
  T* data() { return data_; }
  const T* data() const { return data_; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }

 private:
  void release() {
    if (data_) ::operator delete(data_, std::align_val_t{64});
    data_ = nullptr;
    capacity_ = 0;
  }
  T* data_ = nullptr;
  size_t capacity_ = 0;
};

}  // namespace headsplat
