# SPDX-License-Identifier: MIT
import sys; sys.path.insert(0,'.')
import torch, time, json, numpy as np, infer, guide, wan_tiny as w
w.CONV='cat2d'
torch.set_num_threads(2)
T0=time.time(); STOP=float(sys.argv[1])
M=infer.Model.package('..')
d=np.load('../refs/refs16.npz')
order=[0,1,2,5,4,7,8,6, 3,9,10,11,12,13,14,15]
CF=dict(start='ref',strength=.9,block=5,lr0=.01,lr1=.007,tau=10.,interval=5,inner=10,guided=12,mode='tile',tile=(2,2),window=5)
def track(v):
    # temporal-median foreground, centroid of the strongest difference
    v=v.float()                                  # 3 T H W
    bg=v.median(1,keepdim=True).values
    e=(v-bg).abs().sum(0)
    e=torch.nn.functional.avg_pool2d(e[None],9,1,4)[0]
    y,x=torch.meshgrid(torch.arange(e.shape[1]).float(),torch.arange(e.shape[2]).float(),indexing='ij')
    th=e.flatten(1).max(1).values[:,None,None]*.6
    p=torch.where(e>th,e-th,torch.zeros_like(e))
    s=p.sum((1,2))+1e-9
    return torch.stack([(p*x).sum((1,2))/s,(p*y).sum((1,2))/s],-1)
def score(v,path):
    q=track(v); q=q+.5; path=torch.from_numpy(path).float()
    # 3-frame median against outliers
    qs=torch.stack([q[[0]+list(range(32))],q,q[list(range(1,33))+[32]]]).median(0).values
    xs,ys=qs-qs.mean(0),path-path.mean(0)
    wv=ys.pow(2).sum(0); c=(xs*ys).sum(0)/(xs.pow(2).sum(0).sqrt()*ys.pow(2).sum(0).sqrt()+1e-6)
    use=ys.std(0)>4
    return ((c*wv)[use].sum()/wv[use].sum()).item(), (qs-path).norm(dim=1).mean().item()
out={}; vids={}
vid=torch.from_numpy(d['video']).permute(0,4,1,2,3).float()/127.5-1
for i in range(16):
    out.setdefault('truth',{})[i]=score(vid[i],d['path'][i])
print('tracker on the references', np.mean([v[0] for v in out['truth'].values()]), np.mean([v[1] for v in out['truth'].values()]),flush=True)
for ch in (order[:8],order[8:]):
    ref=torch.cat([M.encode(vid[i:i+1]) for i in ch]); pr=[str(d['prompt'][i]) for i in ch]
    for name,kw in (('guided',CF),('unguided_noise',dict(start='noise',guided=0)),('unguided_ref',dict(start='ref',strength=.9,guided=0))):
        if time.time()-T0>STOP: break
        t=time.time()
        z=guide.transfer(M,ref,pr,seed=3,**kw)
        dt=time.time()-t
        v=torch.cat([M.decode(q[None]) for q in z])
        for k,i in enumerate(ch):
            out.setdefault(name,{})[i]=score(v[k],d['path'][i]); vids[f'{name}_{i}']=((v[k]+1)*127.5).round().clamp(0,255).byte().numpy()
        print(name,len(ch),'%.0fs'%dt,'corr %.3f dist %.1f'%tuple(np.mean([out[name][i] for i in ch],0)),[round(out[name][i][0],2) for i in ch],flush=True)
        json.dump(out,open('transfer_check.json','w')); np.savez_compressed('transfer_check.npz',**vids)
