"""A long time of clients that come, go, stall and flood; does anything of them stay?"""
