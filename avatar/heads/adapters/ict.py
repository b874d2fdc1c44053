"""stub"""
def find_ict(path): return None
def read_ict(folder, *, progress=None): raise NotImplementedError
