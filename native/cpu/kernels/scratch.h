// Memory for the time of one call, aligned to a cache line; throws std::bad_alloc.
class Scratch {
  public:
    explicit Scratch(int64_t bytes) : data_(allocate_block(static_cast<size_t>(bytes))) {
        if (data_ == nullptr) {
            throw std::bad_alloc();
        }
    }
    ~Scratch() { release_block(data_); }
    Scratch(Scratch&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
    Scratch& operator=(Scratch&&) = delete;

    template <typename T>
    T* as() const {
        return static_cast<T*>(data_);
    }

  private:
    void* data_;
};
